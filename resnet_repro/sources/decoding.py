"""From image files to arrays: RGB, 8 bits, upright, all of one size; every file that cannot be used is told at once."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet_repro.errors import UserError
from resnet_repro.sources.listing import SHOWN, printable, unreadable

POINTERS = {
    b"version https://git-lfs.github.com/spec/": "Git LFS: git lfs pull",
    b"/annex/objects/": "git-annex: git annex get",
}
"""How the files begin that stand in a checkout for images that were not fetched, and what fetches them."""


class Unusable(ValueError):  # noqa: N818
    """Why one file is of no use."""


def decode(paths: Sequence[str], data_dir: Path) -> np.ndarray:
    """uint8 [N, 3, H, W]. Raises UserError with the first ten files that cannot be decoded or differ in size."""
    pixels = np.empty((0,), dtype=np.uint8)
    faults: dict[str, str] = {}
    sizes: dict[str, tuple[int, ...]] = {}
    for i, path in enumerate(paths):
        try:
            image = decode_one(path)
        except Unusable as error:
            faults[path] = str(error)
            continue
        if not sizes:
            pixels = np.empty((len(paths), 3, *image.shape[:2]), dtype=np.uint8)
        sizes[path] = image.shape[:2]
        if image.shape[:2] == pixels.shape[2:]:
            pixels[i] = image.transpose(2, 0, 1)
    faults |= _unequal(sizes)
    if faults:
        raise refused(faults, len(paths), data_dir)
    return pixels


def _unequal(sizes: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """What to say of each image that has not the size that most have."""
    if len(set(sizes.values())) <= 1:
        return {}
    (height, width), _ = Counter(sizes.values()).most_common(1)[0]
    usual = f"most have {width}x{height} and all must have one size: crop or resize it"
    return {path: f"has {w}x{h} pixels, {usual}" for path, (h, w) in sizes.items() if (h, w) != (height, width)}


def refused(faults: dict[str, str], count: int, data_dir: Path) -> UserError:
    """The error that names the first ten of the files, of so many, each with what is wrong with it."""
    told = [f"{printable(os.path.relpath(path, data_dir))} {why}" for path, why in list(faults.items())[:SHOWN]]
    first = "" if len(faults) <= SHOWN else f" (the first {SHOWN})"
    return UserError(
        f"{printable(data_dir.absolute())}: {len(faults)} of {count} images cannot be used; "
        f"replace, mend or remove them{first}: {'; '.join(told)}"
    )


def decode_one(path: str) -> np.ndarray:
    """uint8 [H, W, 3], turned as the camera's orientation in the file says. Raises Unusable."""
    from PIL import Image, ImageOps

    if why := unreadable(path):
        raise Unusable(why)
    try:
        with Image.open(path) as image:
            # Pillow clips some of these at 255, which turns 16-bit images white, and cuts bits off others.
            if image.mode.startswith(("I", "F")) or _is_deep(image):
                raise Unusable(f"has more than 8 bits per channel (mode {image.mode}): convert it to 8 bits")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Unusable:
        raise
    except Exception as error:  # each of Pillow's decoders raises its own
        raise Unusable(pointer(path) or f"cannot be decoded ({printable(_first_line(error))})") from error


def _is_deep(image: Any) -> bool:
    """Whether the file has more bits per channel than the image that Pillow makes of it: RGB of 16 bits becomes RGB."""
    return any(
        (image.format == "PPM" and isinstance(arg, int) and arg > 255) or (isinstance(arg, str) and ";16" in arg)
        for tile in image.tile
        for arg in (tile.args if isinstance(tile.args, tuple) else (tile.args,))
    )


def pointer(path: str) -> str:
    """What the file stands for, if it is one of POINTERS; else nothing."""
    try:
        with open(path, "rb") as file:
            begin = file.read(100)
    except OSError:
        return ""
    return next(
        (
            f"is a pointer to an image that was not fetched ({how})"
            for b, how in POINTERS.items()
            if begin.startswith(b)
        ),
        "",
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
