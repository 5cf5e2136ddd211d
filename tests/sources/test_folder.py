import multiprocessing
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from resnet_repro import sources
from resnet_repro.data import MissingData, load
from resnet_repro.errors import UserError
from resnet_repro.sources.listing import listing

H, W = 6, 5
RNG = np.random.default_rng(0)
PIXELS = {
    f"{part}/{name}/{i}.png": RNG.integers(256, size=(H, W, 3), dtype=np.uint8)
    for part, count in (("train", 3), ("test", 2))
    for name in ("ant", "bee")
    for i in range(count)
}


@pytest.fixture
def folder(tmp_path):
    for name, pixels in PIXELS.items():
        write(tmp_path / name, pixels)
    return tmp_path


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def caches(folder):
    return list(folder.glob(".decoded-*"))


def expected(part):
    return np.stack([pixels for name, pixels in PIXELS.items() if name.startswith(part)]).transpose(0, 3, 1, 2)


def test_images_and_classes_follow_the_sorted_names(folder):
    images = load("folder", folder)
    np.testing.assert_array_equal(images.train_x, expected("train"))
    np.testing.assert_array_equal(images.test_x, expected("test"))
    assert images.train_y.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.test_y.tolist() == [0, 0, 1, 1]
    assert (images.classes, images.train_x.dtype, images.train_y.dtype) == (2, torch.uint8, torch.int64)


def test_jpeg_and_grey_images_become_rgb(folder):
    Image.fromarray(PIXELS["train/ant/0.png"]).save(folder / "train/ant/3.jpg", quality=75)
    grey = PIXELS["train/ant/0.png"][:, :, 0]
    write(folder / "train/ant/4.png", grey)
    images = load("folder", folder)
    with Image.open(folder / "train/ant/3.jpg") as jpeg:
        np.testing.assert_array_equal(images.train_x[3], np.asarray(jpeg).transpose(2, 0, 1))
    np.testing.assert_array_equal(images.train_x[4], np.stack([grey] * 3))


def test_second_load_reads_the_cache(folder):
    first = load("folder", folder)
    (cache,) = caches(folder)
    arrays = dict(np.load(cache))
    arrays["train_x"][0, 0, 0, 0] ^= 255
    arrays["sha256"] = np.array(sources.digest(arrays))
    np.savez(cache, **arrays)
    second = load("folder", folder)
    assert second.train_x[0, 0, 0, 0] == 255 - first.train_x[0, 0, 0, 0]
    assert second.sha256 != first.sha256


def test_a_cache_whose_pixels_are_not_those_that_were_decoded_is_made_again(folder):
    first = load("folder", folder)
    (cache,) = caches(folder)
    arrays = dict(np.load(cache))
    arrays["train_x"][0, 0, 0, 0] ^= 255
    np.savez(cache, **arrays)
    with pytest.warns(UserWarning, match="damaged"):
        assert load("folder", folder).sha256 == first.sha256


def test_cached_set_equals_the_decoded_one(folder):
    first, second = load("folder", folder), load("folder", folder)
    assert torch.equal(first.train_x, second.train_x)
    assert torch.equal(first.test_y, second.test_y)
    assert first.sha256 == second.sha256


def change_pixels(folder):
    path = folder / "train/ant/0.png"
    before = path.stat().st_mtime_ns
    write(path, 255 - PIXELS["train/ant/0.png"])
    os.utime(path, ns=(0, before + 1))


def move_to_other_class(folder):
    # The order of the files stays, and so do their sizes and times: only a label changes.
    (folder / "train/ant/2.png").rename(folder / "train/bee/+.png")


def remove_test_image(folder):
    (folder / "test/bee/1.png").unlink()


@pytest.mark.parametrize("change", [change_pixels, move_to_other_class, remove_test_image])
def test_changed_folder_is_decoded_anew_and_keeps_one_cache(folder, change):
    before = load("folder", folder)
    change(folder)
    after = load("folder", folder)
    assert after.sha256 != before.sha256
    assert len(caches(folder)) == 1
    caches(folder)[0].unlink()
    assert load("folder", folder).sha256 == after.sha256


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:600] + b"\xff" + b[601:]])
def test_damaged_cache_is_reported_and_made_again(folder, damage):
    first = load("folder", folder)
    (cache,) = caches(folder)
    cache.write_bytes(damage(cache.read_bytes()))
    with pytest.warns(UserWarning, match="damaged"):
        assert load("folder", folder).sha256 == first.sha256
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load("folder", folder).sha256 == first.sha256


def test_folder_that_cannot_be_written_is_decoded_without_cache(folder, caplog):
    (folder / ".resnet-repro.lock").mkdir()  # cannot be opened for writing, not even by root
    images = load("folder", folder)
    np.testing.assert_array_equal(images.train_x, expected("train"))
    assert not caches(folder)
    assert [record.message for record in caplog.records if "not kept" in record.message]


def test_processes_that_start_together_get_the_same_images(folder):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        both = [pool.submit(load, "folder", folder) for _ in range(2)]
        for images in (future.result(timeout=120) for future in both):
            np.testing.assert_array_equal(images.train_x, expected("train"))
            np.testing.assert_array_equal(images.test_x, expected("test"))
    assert len(caches(folder)) == 1


def test_image_that_cannot_be_decoded_is_named(folder):
    path = folder / "train/bee/1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"train/bee/1\.png cannot be decoded"):
        load("folder", folder)
    assert not caches(folder)


def png(width, height, depth, colour, rows):
    """A PNG file by its specification, which Pillow would not write with 16 bits and three channels."""
    parts = {b"IHDR": struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0), b"IDAT": zlib.compress(rows)}
    chunks = [
        struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d))
        for name, d in (parts | {b"IEND": b""}).items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


BAD = {
    "train/ant/0.png": (png(W, H, 16, 2, (b"\0" + bytes(6 * W)) * H), "has more than 8 bits per channel"),
    "train/ant/1.png": (png(W, H, 16, 0, (b"\0" + bytes(2 * W)) * H), "has more than 8 bits per channel"),
    "train/ant/2.ppm": (b"P6 5 6 65535\n" + bytes(6 * W * H), "has more than 8 bits per channel"),
    "train/bee/0.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "train/bee/1.png": (b"/annex/objects/SHA256E-s9--0.png\n", "git annex get"),
    "train/bee/2.png": (png(W, H, 8, 2, (b"\0" + bytes(3 * W)) * H)[:-30], "cannot be decoded"),
    "test/ant/0.png": (png(W, 4, 8, 2, (b"\0" + bytes(3 * W)) * 4), "has 5x4 pixels, most have 5x6"),
    "test/ant/1.png": (b"", "cannot be decoded"),
}


def test_every_bad_file_is_in_one_message_of_one_line(folder):
    for name, (content, _) in BAD.items():
        (folder / name).write_bytes(content)
    (folder / "test/bee/0.png").unlink()
    (folder / "test/bee/0.png").symlink_to("nowhere")
    os.mkfifo(folder / "test/bee/2.png")  # to open it would be to wait for ever
    with pytest.raises(UserError) as caught:
        load("folder", folder)
    message = str(caught.value)
    assert "\n" not in message
    assert "10 of 12 images cannot be used" in message
    for name, (_, words) in BAD.items():
        (own,) = [part for part in message.split("; ") if name in part]
        assert words in own
    assert "test/bee/0.png is a link that leads nowhere" in message
    assert "test/bee/2.png is no file" in message
    assert not caches(folder)


def test_of_many_bad_files_the_first_ten_and_their_number_are_told(folder):
    for i in range(25):
        (folder / f"train/ant/x{i:02}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"25 of 35 images cannot be used.*x00.*x09") as caught:
        load("folder", folder)
    assert "x10" not in str(caught.value)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright_as_their_orientation_says(folder, orientation):
    # Where the first row and column of the stored image are in the upright one: EXIF 2.32, tag 274.
    upright = PIXELS["train/ant/0.png"]
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(folder / "train/ant/0.png", exif=exif)
    np.testing.assert_array_equal(load("folder", folder).train_x[0], upright.transpose(2, 0, 1))


def test_what_is_no_data_is_skipped_counted_and_named(folder, caplog):
    plain = load("folder", folder).sha256
    copy = (folder / "train/ant/0.png").read_bytes()
    skipped = [
        "train/.ipynb_checkpoints/0.png", "test/__MACOSX/ant/0.png", "train/ant/.ipynb_checkpoints/0.png",
        "train/ant/._0.png", "train/bee/.hidden.jpg", "test/bee/notes.txt", "test/Thumbs.db",
    ]  # fmt: skip
    for name in skipped:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(copy)
    caches(folder)[0].unlink()
    caplog.clear()
    assert load("folder", folder).sha256 == plain
    (said,) = [record.message for record in caplog.records if "skipped" in record.message]
    assert "7 files or folders" in said
    for name in skipped:
        shown = name.rsplit("/", 1)[0] if "ipynb" in name else name.removesuffix("/ant/0.png")
        assert shown in said


def test_file_names_that_are_no_utf8_work(folder, caplog):
    raw = os.fsencode(folder / "train/ant/") + b"/0-caf\xe9.png"  # as a Latin-1 system wrote it
    os.rename(folder / "train/ant/0.png", raw)
    images = load("folder", folder)
    np.testing.assert_array_equal(images.train_x, expected("train"))
    assert sources.sha256("folder", folder) == images.sha256
    with open(raw, "wb"):
        pass
    with pytest.raises(UserError, match=r"0-caf\\xe9\.png cannot be decoded") as caught:
        load("folder", folder)
    str(caught.value).encode("ascii")  # can be printed everywhere


@pytest.mark.parametrize("part", ["train", "test"])
def test_class_names_equal_but_for_normalisation_are_said_to_be_that(folder, part):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for place, name in (("train", composed), ("test", composed), (part, decomposed)):
        write(folder / place / name / "0.png", PIXELS["train/ant/0.png"])
    with pytest.raises(UserError, match="differ only in Unicode normalisation"):
        load("folder", folder)
    (folder / part / composed / "0.png").unlink()
    (folder / part / composed).rmdir()  # now train has the one and test the other
    with pytest.raises(UserError, match="differ only in Unicode normalisation"):
        load("folder", folder)


def test_a_link_to_a_folder_is_followed_and_one_that_leads_back_is_not(folder):
    (folder / "train/ant/more").symlink_to(folder / "train/bee")
    (folder / "train/bee/back").symlink_to(folder / "train")
    assert load("folder", folder).train_y.tolist() == [0] * 6 + [1] * 3


def test_the_order_of_images_is_that_of_torchvision(folder):
    for name in (
        "train/ant/a/0.png",
        "train/ant/a-b/0.PNG",
        "train/ant/a/b/1.png",
        "train/Zebra/0.png",
        "test/Zebra/0.png",
    ):
        write(folder / name, PIXELS["train/ant/0.png"])
    found = listing(folder)
    assert found.train == ImageFolder(folder / "train").samples
    assert found.test == ImageFolder(folder / "test").samples


# The hash, without decoding ------------------------------------------------------------------------------------


def test_the_hash_of_a_folder_is_told_without_decoding_it_and_without_torch(folder):
    code = (
        "import sys; from pathlib import Path; from resnet_repro import sources; "
        f"print(sources.sha256('folder', Path({str(folder)!r})), {{'torch', 'PIL'}} & set(sys.modules))"
    )
    expected = load("folder", folder).sha256
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == [expected, "set()"]


def test_the_hash_of_a_folder_that_was_never_decoded_is_that_of_its_images(folder):
    told = sources.sha256("folder", folder)
    assert len(caches(folder)) == 1
    assert told == load("folder", folder).sha256


@pytest.mark.parametrize("change", [change_pixels, move_to_other_class, remove_test_image])
def test_the_hash_follows_every_change_of_the_folder(folder, change):
    before = sources.sha256("folder", folder)
    change(folder)
    after = sources.sha256("folder", folder)
    assert after != before
    assert after == load("folder", folder).sha256


def test_unequal_classes_are_named(folder):
    write(folder / "train/cat/0.png", PIXELS["train/ant/0.png"])
    (folder / "test/bee").rename(folder / "test/bees")
    with pytest.raises(ValueError, match=r"only in train: \['bee', 'cat'\], only in test: \['bees'\]"):
        load("folder", folder)


def test_class_without_images_is_named(folder):
    (folder / "test/wasp").mkdir()
    with pytest.raises(MissingData, match="wasp"):
        load("folder", folder)


def test_missing_folder_is_an_error_that_says_what_is_expected(tmp_path):
    with pytest.raises(MissingData, match=r"train/<class>/\* and test/<class>/\*") as caught:
        load("folder", tmp_path / "nothing")
    assert str(tmp_path / "nothing") in str(caught.value)
    assert not (tmp_path / "nothing").exists()


def test_45k_split_needs_ten_images(folder):
    with pytest.raises(ValueError, match="use split=full"):
        load("folder", folder, split="45k")


def test_where_the_test_images_have_no_classes_those_of_val_take_their_place(folder):
    (folder / "test").rename(folder / "val")
    write(folder / "test/images/0.png", PIXELS["test/ant/0.png"])
    assert [Path(path).relative_to(folder).parts[0] for path, _ in listing(folder).test] == ["val"] * 4
    assert load("folder", folder).test_y.tolist() == [0, 0, 1, 1]


def test_tiny_imagenets_layout_is_read_with_its_annotations(folder):
    for name in ("ant", "bee"):
        (folder / "train" / name).rename(folder / "images")
        (folder / "train" / name).mkdir()
        (folder / "images").rename(folder / "train" / name / "images")
        (folder / "train" / name / f"{name}_boxes.txt").write_text("0.png\t0\t0\t9\t9\n")
    lines = []
    for number, (part, name) in enumerate([("bee", 0), ("ant", 0), ("ant", 1), ("bee", 1)]):
        write(folder / f"val/images/val_{number}.png", PIXELS[f"test/{part}/{name}.png"])
        lines.append(f"val_{number}.png\t{part}\t0\t0\t9\t9\n")
    (folder / "test").rename(folder / "elsewhere")
    (folder / "val/val_annotations.txt").write_text("".join(lines))
    images = load("folder", folder)
    np.testing.assert_array_equal(images.train_x, expected("train"))
    assert images.test_y.tolist() == [1, 0, 0, 1]
    np.testing.assert_array_equal(images.test_x[0], PIXELS["test/bee/0.png"].transpose(2, 0, 1))
    (folder / "val/val_annotations.txt").write_text("".join(lines[1:]))
    with pytest.raises(UserError, match=r"gives 1 of 4 images in val/images no class of train/: val/images/val_0.png"):
        load("folder", folder)
