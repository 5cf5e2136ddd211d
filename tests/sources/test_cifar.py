"""On miniature archives in the layout of the published ones; only their md5 sums are put in place of the real."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from resnet_repro import sources
from resnet_repro.data import MissingData, load
from resnet_repro.sources.disk import locked

RNG = np.random.default_rng(0)
ROWS = {f"data_batch_{i}": RNG.integers(256, size=(4, 3072), dtype=np.uint8) for i in range(1, 6)}
ROWS |= {"test_batch": RNG.integers(256, size=(6, 3072), dtype=np.uint8)}
LABELS = {name: [(7 * i + len(name)) % 10 for i in range(len(rows))] for name, rows in ROWS.items()}
LABELS["data_batch_3"] = [9, 0, 1, 2]
OLD_DTYPE = (b"\x89\x88\x87", b"K\x00K\x01\x87")  # numpy under Python 2 wrote dtype("u1", 0, 1), not (False, True)


def old_pickle(content):
    data = pickle.dumps(content, protocol=2)
    assert OLD_DTYPE[0] in data or "data" not in content
    return data.replace(*OLD_DTYPE)


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def publish(folder, source, contents):
    """Write the archive of `contents` to `folder`; returns the md5 attributes of torchvision's class for it."""
    unpacked = folder / source.base_folder
    unpacked.mkdir(parents=True)
    for name, content in contents.items():
        (unpacked / name).write_bytes(old_pickle(content))
    with tarfile.open(folder / source.filename, "w:gz") as archive:
        archive.add(unpacked, source.base_folder)
    sums = {name: md5(unpacked / name) for name in contents}
    return {
        "tgz_md5": md5(folder / source.filename),
        "train_list": [[name, sums[name]] for name, _ in source.train_list],
        "test_list": [[name, sums[name]] for name, _ in source.test_list],
        "meta": source.meta | {"md5": sums[source.meta["filename"]]},
    }


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A folder with the miniature archive and its unpacked files, which torchvision takes for the published ones."""
    contents = {name: {"data": rows, "labels": LABELS[name]} for name, rows in ROWS.items()}
    contents["batches.meta"] = {"label_names": [f"class {i}" for i in range(10)]}
    published = publish(tmp_path / "published", CIFAR10, contents)
    for name, value in published.items():
        monkeypatch.setattr(CIFAR10, name, value)
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")  # nobody listens there
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "published"


def check_pixels(images):
    train = np.concatenate([ROWS[f"data_batch_{i}"] for i in range(1, 6)])
    assert images.train_x.shape == (20, 3, 32, 32)
    for c, y, x in [(0, 0, 0), (0, 0, 1), (1, 5, 30), (2, 31, 7)]:  # a row: 1,024 red values by lines, green, blue
        np.testing.assert_array_equal(images.train_x[:, c, y, x], train[:, 1024 * c + 32 * y + x])
        np.testing.assert_array_equal(images.test_x[:, c, y, x], ROWS["test_batch"][:, 1024 * c + 32 * y + x])
    assert images.train_y.tolist() == [label for i in range(1, 6) for label in LABELS[f"data_batch_{i}"]]
    assert images.test_y.tolist() == LABELS["test_batch"]
    assert images.train_y.dtype == torch.int64
    assert images.classes == 10


def test_unpacked_files_are_read_in_order(cifar10):
    check_pixels(load("cifar10", cifar10, download=False))


def test_archive_alone_is_unpacked_once(cifar10, tmp_path):
    (tmp_path / "here").mkdir()
    (cifar10 / CIFAR10.filename).rename(tmp_path / "here" / CIFAR10.filename)
    check_pixels(load("cifar10", tmp_path / "here", download=False))
    (tmp_path / "here" / CIFAR10.filename).unlink()
    check_pixels(load("cifar10", tmp_path / "here", download=False))


def test_the_hash_is_noted_beside_the_files_and_follows_them(cifar10):
    told = sources.sha256("cifar10", cifar10)
    assert told == load("cifar10", cifar10, download=False).sha256
    note = cifar10 / ".sha256-cifar10"
    note.write_text(note.read_text().replace(told, "1" * 64))
    assert sources.sha256("cifar10", cifar10) == "1" * 64  # read, and not made anew
    os.utime(cifar10 / CIFAR10.base_folder / "data_batch_2", ns=(0, 0))
    assert sources.sha256("cifar10", cifar10) == told
    assert told in note.read_text()


def test_the_hash_of_absent_files_is_an_error_and_nothing_is_downloaded(cifar10, tmp_path, monkeypatch):
    with Server(cifar10) as server:
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{CIFAR10.filename}")
        with pytest.raises(MissingData):
            sources.sha256("cifar10", tmp_path / "nothing")
        assert server.requests == 0


def test_damaged_file_is_replaced_from_the_archive(cifar10):
    (cifar10 / CIFAR10.base_folder / "data_batch_3").write_bytes(b"half")
    check_pixels(load("cifar10", cifar10, download=False))


@pytest.mark.parametrize("download", [False, True])
def test_missing_files_are_an_error_that_names_the_folder_and_the_remedies(cifar10, tmp_path, download):
    with pytest.raises(MissingData) as caught:
        load("cifar10", tmp_path / "nothing", download=download)
    message = str(caught.value)
    assert str(tmp_path / "nothing" / "cifar-10-batches-py") in message
    for remedy in ("cifar-10-python.tar.gz", "task=folder env.data_dir=", "task=digits"):
        assert remedy in message


def test_nothing_is_left_of_a_failed_download(cifar10, tmp_path):
    with pytest.raises(MissingData, match="fetching it failed"):
        load("cifar10", tmp_path / "nothing")
    assert [path.name for path in (tmp_path / "nothing").iterdir()] == [".resnet-repro.lock"]


def test_without_download_no_folder_is_made(cifar10, tmp_path):
    with pytest.raises(MissingData, match="switched off"):
        load("cifar10", tmp_path / "nothing", download=False)
    assert not (tmp_path / "nothing").exists()


def test_truncated_archive_does_not_count_as_present(cifar10, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / CIFAR10.filename).write_bytes((cifar10 / CIFAR10.filename).read_bytes()[:5000])
    with pytest.raises(MissingData, match="fails its md5"):
        load("cifar10", tmp_path / "here", download=False)
    assert not (tmp_path / "here" / CIFAR10.base_folder).exists()


class Server(ThreadingHTTPServer):
    """Serves a folder and counts the requests."""

    def __init__(self, folder):
        self.requests = 0
        super().__init__(("127.0.0.1", 0), partial(CountingHandler, directory=str(folder)))

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return super().__enter__()

    def __exit__(self, *error):
        self.shutdown()
        super().__exit__(*error)


class CountingHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.requests += 1


LOAD_IN_ANOTHER_PROCESS = """
import json, pathlib, sys
from torchvision.datasets import CIFAR10
from resnet_repro.data import load
for name, value in json.loads(sys.argv[1]).items():
    setattr(CIFAR10, name, value)
print("ready", flush=True)
print(load("cifar10", pathlib.Path(sys.argv[2])).sha256)
"""


def test_processes_that_start_together_download_once(cifar10, tmp_path, monkeypatch):
    with Server(cifar10) as server:
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{CIFAR10.filename}")
        check_pixels(alone := load("cifar10", tmp_path / "alone"))
        once, server.requests = server.requests, 0
        attributes = {name: getattr(CIFAR10, name) for name in ("url", "tgz_md5", "train_list", "test_list", "meta")}
        command = [sys.executable, "-c", LOAD_IN_ANOTHER_PROCESS, json.dumps(attributes), str(tmp_path / "shared")]
        (tmp_path / "shared").mkdir()
        with locked(tmp_path / "shared"):  # until both have found nothing and wait
            processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
            assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
            time.sleep(0.5)
        assert [process.communicate(timeout=120)[0].strip() for process in processes] == [alone.sha256] * 2
    assert server.requests == once
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {
        CIFAR10.base_folder, ".resnet-repro.lock", ".sha256-cifar10"
    }  # fmt: skip


def test_cifar100_has_the_fine_labels(tmp_path, monkeypatch):
    rows = RNG.integers(256, size=(100, 3072), dtype=np.uint8)
    contents = {
        "train": {"data": rows, "fine_labels": list(range(100)), "coarse_labels": [0] * 100},
        "test": {"data": rows[:5], "fine_labels": [99, 3, 5, 7, 9], "coarse_labels": [1] * 5},
        "meta": {"fine_label_names": [str(i) for i in range(100)]},
    }
    for name, value in publish(tmp_path, CIFAR100, contents).items():
        monkeypatch.setattr(CIFAR100, name, value)
    images = load("cifar100", tmp_path, download=False, split="45k")
    assert (images.classes, len(images.train_y), len(images.valid_y)) == (100, 90, 10)
    assert sorted(torch.cat([images.train_y, images.valid_y]).tolist()) == list(range(100))
    assert images.test_y.tolist() == [99, 3, 5, 7, 9]
