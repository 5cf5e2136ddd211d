import multiprocessing
import os
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_repro.data import MissingData, load

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
    np.savez(cache, **arrays)
    second = load("folder", folder)
    assert second.train_x[0, 0, 0, 0] == 255 - first.train_x[0, 0, 0, 0]
    assert second.sha256 != first.sha256


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
    with pytest.raises(ValueError, match=r"train/bee/1\.png cannot be decoded"):
        load("folder", folder)
    assert not caches(folder)


def test_first_image_of_another_size_is_named_with_both_sizes(folder):
    write(folder / "test/ant/1.png", PIXELS["test/ant/1.png"][:4])
    with pytest.raises(ValueError, match=r"test/ant/1\.png has 5x4 pixels, .*train/ant/0\.png has 5x6.*[Rr]esize"):
        load("folder", folder)


def test_image_with_16_bits_is_refused(folder):
    write(folder / "train/ant/0.png", np.full((H, W), 40_000, dtype=np.uint16))
    with pytest.raises(ValueError, match="more than 8 bits"):
        load("folder", folder)


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
