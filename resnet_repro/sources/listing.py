"""Which files of an image folder are its data, and which are not: `train/<class>/*` and `test/<class>/*`.

Where the test images have no classes, as in ImageNet's folders, `val/<class>/*` takes their place, or `val/images/*`
with the classes in `val/val_annotations.txt`, as in Tiny-ImageNet's.
"""

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resnet_repro.errors import UserError
from resnet_repro.sources.disk import MissingData

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""What is taken for an image, as by torchvision's ImageFolder; in small or capital letters."""

FOREIGN = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information")
"""Folders that archives, file servers and operating systems leave behind."""

ANNOTATIONS = "val/val_annotations.txt"

SHOWN = 10
"""Names in a message at most."""

Sample = tuple[str, int]
"""Path of an image file, number of its class."""


@dataclass
class Listing:
    """The images of a folder, in the order of their names, and the paths that are no data."""

    train: list[Sample] = field(default_factory=list)
    test: list[Sample] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def listing(data_dir: Path) -> Listing:
    """The images of a folder; a class's number is its place among the sorted names of those below `train`.

    Tested is on `test`, or on `val` where `test` has none of the classes. Hidden files and folders, those that an
    archive or a file server has left behind, and files that are no images by their names are skipped. Folders within a
    class are part of it; links are followed.
    Raises MissingData where train, test or the images of a class are absent, UserError for unequal classes.
    """
    found = Listing()
    classes = _classes(data_dir, "train", found.skipped)
    found.train = _of_classes(data_dir, "train", classes, found.skipped)
    part = _tested(data_dir, classes)
    if part == "val" and (data_dir / ANNOTATIONS).is_file():
        found.test = _annotated(data_dir, classes, found.skipped)
        return found
    tested = _classes(data_dir, part, found.skipped)
    found.test = _of_classes(data_dir, part, tested, found.skipped)
    _check_equal(data_dir, classes, part, tested)
    return found


def _tested(data_dir: Path, classes: Sequence[str]) -> str:
    """The part that holds the test images: Tiny-ImageNet and ImageNet come with a test part without classes."""
    has_classes = any((data_dir / "test" / name).is_dir() for name in classes)
    return "val" if (data_dir / "val").is_dir() and not has_classes else "test"


def _of_classes(data_dir: Path, part: str, classes: Sequence[str], skipped: list[str]) -> list[Sample]:
    samples: list[Sample] = []
    for number, name in enumerate(classes):
        images = list(_images(data_dir / part / name, skipped))
        if not images:
            raise _missing(data_dir, f"{part}/{printable(name)} holds no image ({', '.join(EXTENSIONS)})")
        samples += [(path, number) for path in images]
    return samples


def _annotated(data_dir: Path, classes: Sequence[str], skipped: list[str]) -> list[Sample]:
    """The images of val/images, their classes from a file of lines `name, class, ...` between tabs.

    Raises UserError for an image without a line and for a line with another class.
    """
    text = (data_dir / ANNOTATIONS).read_text(encoding="utf-8", errors="surrogateescape")
    named = dict(line.split("\t")[:2] for line in text.splitlines() if "\t" in line)
    numbers = {name: number for number, name in enumerate(classes)}
    images = list(_images(data_dir / "val" / "images", skipped))
    wrong = [path for path in images if named.get(os.path.basename(path)) not in numbers]
    if wrong or not images:
        raise UserError(
            f"{printable(data_dir.absolute())}: {ANNOTATIONS} gives {len(wrong)} of {len(images)} images in val/images "
            f"no class of train/: {some(wrong, data_dir)}; unpack the data set anew"
        )
    return [(path, numbers[named[os.path.basename(path)]]) for path in images]


def _classes(data_dir: Path, part: str, skipped: list[str]) -> list[str]:
    """The names of the class folders of train or test, sorted."""
    try:
        with os.scandir(data_dir / part) as entries:
            below = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(data_dir, f"there is no folder {part}/") from error
    names = [entry.name for entry in below if entry.is_dir() and not _foreign(entry.name)]
    skipped += [entry.path for entry in below if entry.name not in names]
    if not names:
        raise _missing(data_dir, f"{part}/ has no class folders")
    return names


def _images(folder: Path, skipped: list[str]) -> Iterator[str]:
    """Paths of the images of a class, sorted by folder, then by name."""
    found: list[str] = []
    for place, folders, files in os.walk(folder, followlinks=True):
        skipped += [os.path.join(place, name) for name in folders if _foreign(name)]
        folders[:] = [name for name in folders if not _foreign(name) and not _leads_back(place, name)]
        for name in files:
            is_image = not _foreign(name) and name.lower().endswith(EXTENSIONS)
            (found if is_image else skipped).append(os.path.join(place, name))
    return iter(sorted(found, key=lambda path: tuple(map(os.fsencode, os.path.split(path)))))


def _foreign(name: str) -> bool:
    return name.startswith(".") or name in FOREIGN


def _leads_back(place: str, name: str) -> bool:
    """Whether the folder is a link to one that it lies in, in which a walk would never end."""
    inner = os.path.join(place, name)
    return os.path.islink(inner) and Path(os.path.realpath(place)).is_relative_to(os.path.realpath(inner))


def _check_equal(data_dir: Path, train: Sequence[str], part: str, test: Sequence[str]) -> None:
    place = printable(data_dir.absolute())
    for where, names in (("train", train), (part, test), (f"train and {part}", sorted({*train, *test}))):
        for first, second in zip(names, _alike(names), strict=True):
            if second is not None:
                raise UserError(
                    f"{place}: two class folders in {where} are both called {printable(first)}, which differ only in "
                    f"Unicode normalisation ({first!a}, {second!a}); give them one name (NFC: "
                    f"{unicodedata.normalize('NFC', first)!a})"
                )
    if train != test:
        only = [[printable(name) for name in sorted(set(a) - set(b))] for a, b in ((train, test), (test, train))]
        raise UserError(
            f"{place}: train/ and {part}/ must have the same class folders; "
            f"only in train: {only[0]}, only in {part}: {only[1]}. Rename, add or remove class folders."
        )


def _alike(names: Sequence[str]) -> Iterator[str | None]:
    """For each name another one that is equal to it after normalisation, or None."""
    for name in names:
        same = [o for o in names if o != name and unicodedata.normalize("NFC", o) == unicodedata.normalize("NFC", name)]
        yield same[0] if same else None


def _missing(data_dir: Path, reason: str) -> MissingData:
    return MissingData(
        f"no image folder in {printable(data_dir.absolute())}: {reason}. Expected are train/<class>/* and "
        f"test/<class>/* (or val/<class>/*) there, at least one image for each class; choose the folder by "
        "env.data_dir=<folder>."
    )


def unreadable(path: str) -> str:
    """Why a listed file cannot be an image, from its kind alone; empty where it is a file."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return "is a link that leads nowhere" if os.path.islink(path) else f"cannot be read ({error.strerror})"
    return "" if stat.S_ISREG(mode) else "is no file"


def some(paths: Iterable[str], data_dir: Path) -> str:
    """The first ten of the paths, relative to the folder, for a message."""
    names = [printable(os.path.relpath(path, data_dir)) for path in paths]
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def printable(name: str | Path) -> str:
    """A file's name as text that can be printed anywhere, with \\xNN for bytes that are no UTF-8."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")
