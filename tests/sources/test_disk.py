import multiprocessing
import time

import numpy as np
import pytest

from resnet_repro.sources.disk import locked, save_whole


def test_second_holder_waits_for_the_first(tmp_path):
    # A lock belongs to the opened file, so that it also keeps threads and forked processes apart.
    fork, log = multiprocessing.get_context("fork"), tmp_path / "log"

    def hold(name):
        with locked(tmp_path), log.open("a") as file:
            file.write(f"{name} in\n")
            file.flush()
            time.sleep(0.05)
            file.write(f"{name} out\n")

    processes = [fork.Process(target=hold, args=(i,)) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len(lines) == 6
    assert all(a[0] == b[0] and a[1] == "in" for a, b in zip(lines[::2], lines[1::2], strict=True))


def test_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="inside"), locked(tmp_path):
        raise RuntimeError("inside")
    with locked(tmp_path) as writable:
        assert writable


def test_folder_that_cannot_be_written_is_not_locked(tmp_path):
    with locked(tmp_path / "nothing") as writable:
        assert not writable


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    save_whole(tmp_path / "a.npz", {"x": np.arange(3)})
    with pytest.raises(ValueError, match="allow_pickle"):
        save_whole(tmp_path / "a.npz", {"x": np.arange(4), "y": np.array([object()])})
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert np.load(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]
