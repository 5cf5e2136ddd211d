"""The run folders: whole after a kill at any moment, damage noticed, one owner at a time."""

import contextlib
import hashlib
import json
import logging
import math
import multiprocessing
import os
import random
import shutil
import signal
import time

import pytest

from resnet_repro import records
from resnet_repro.errors import UserError
from resnet_repro.metrics import METRICS, SHARES

ROWS = [
    (20, "lr", None, None, 0.1),
    (20, "train_loss", None, None, 1.2345678901234567),
    (40, "lr", None, None, 0.1),
    (40, "train_loss", None, None, 0.1 + 0.2),
    (40, "gradient_norm_output", 1, None, 1 / 3),
    (40, "gradient_norm_output", 2, 0.5, 2 / 3),
]
METRIC_VALUES = {name: 100 * math.sqrt(k + 2) / 7 for k, name in enumerate(METRICS)}

fork = multiprocessing.get_context("fork")


def record(**changes):
    return {
        "status": "finished",
        "status_flags": dict.fromkeys(SHARES, False),
        "metrics": METRIC_VALUES,
        "parameters": 272474,
        "diverged_step": None,
        "provenance": {"seconds": 7.125, "commit": "0123456789ab", "device": "a CPU", "torch": "2.13.0"},
    } | changes


def finish(place, rows=ROWS, **changes):
    """Writes a finished run as training does: points, then the record."""
    records.write_points(place, [])
    records.append_points(place, rows)
    return records.write(place, record(**changes))


@contextlib.contextmanager
def process(target, *args):
    """A child process, killed at the end; what it sends through its last argument can be received from."""
    receive, send = fork.Pipe(duplex=False)
    child = fork.Process(target=target, args=(*args, send))
    child.start()
    send.close()
    try:
        yield child, receive
    finally:
        child.kill()
        child.join()


# Files that are whole or absent --------------------------------------------------------------------------------


def write_for_ever(path, started):
    for k in range(10**9):
        records.write_atomically(path, (str(k % 10) * 3_000_000).encode())
        if k == 0:
            started.send(None)


def test_a_file_is_whole_whenever_its_writer_is_killed(tmp_path):
    rng = random.Random(0)
    for _ in range(25):
        with process(write_for_ever, tmp_path / "file") as (_, started):
            started.recv()
            time.sleep(rng.uniform(0, 0.02))
        content = (tmp_path / "file").read_bytes()
        assert content == content[:1] * 3_000_000


def test_a_reader_sees_a_file_whole_while_it_is_written(tmp_path):
    with process(write_for_ever, tmp_path / "file") as (_, started):
        started.recv()
        for _ in range(100):
            content = (tmp_path / "file").read_bytes()
            assert content == content[:1] * 3_000_000


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_takes_no_number_that_json_has_not(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        records.write_json(tmp_path / "x.json", {"error": value})
    assert not (tmp_path / "x.json").exists()


# Records -------------------------------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written(tmp_path):
    written = finish(tmp_path)
    assert records.read(tmp_path) == written
    assert written["metrics"] == METRIC_VALUES
    assert records.state(tmp_path) == "finished"


def test_a_run_without_a_record_is_not_finished(tmp_path):
    assert records.read(tmp_path / "nowhere") is None
    records.write_points(tmp_path, ROWS)
    assert records.read(tmp_path) is None


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


DAMAGE = {
    "record cut": lambda p: (p / "record.json").write_bytes((p / "record.json").read_bytes()[:-40]),
    "record empty": lambda p: (p / "record.json").write_bytes(b""),
    "record not text": lambda p: (p / "record.json").write_bytes(b"\xff\xfe\x00"),
    "record a list": lambda p: (p / "record.json").write_text("[1, 2]"),
    "record without hash": lambda p: edit(p / "record.json", lambda r: r.pop("sha256")),
    "a metric edited": lambda p: edit(p / "record.json", lambda r: r["metrics"].update(test_error=0.0)),
    "the status edited": lambda p: edit(p / "record.json", lambda r: r.update(status="diverged")),
    "points cut": lambda p: (p / "points.csv").write_bytes((p / "points.csv").read_bytes()[:-1]),
    "points longer": lambda p: records.append_points(p, [(60, "lr", None, None, 0.1)]),
    "a point edited": lambda p: (p / "points.csv").write_text((p / "points.csv").read_text().replace("0.1\n", "0.2\n")),
    "points gone": lambda p: (p / "points.csv").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_set_aside_with_a_warning_and_the_run_is_not_finished(tmp_path, caplog, damage):
    finish(tmp_path)
    DAMAGE[damage](tmp_path)
    with caplog.at_level(logging.WARNING):
        assert records.read(tmp_path) is None
    assert str(tmp_path / "record.json") in caplog.text
    (aside,) = tmp_path.glob("record.json.corrupt-*")
    assert aside.name in caplog.text
    assert not (tmp_path / "record.json").exists()
    caplog.clear()
    assert records.read(tmp_path) is None  # said once
    assert caplog.text == ""


def test_no_flipped_bit_changes_what_is_read(tmp_path):
    written = finish(tmp_path)
    content = (tmp_path / "record.json").read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        (tmp_path / "record.json").write_bytes(damaged)
        assert records.read(tmp_path) in (None, written)


def read_together(place, start, answer):
    start.wait()
    answer.send(records.read(place))


def test_processes_that_meet_a_damaged_record_do_not_disturb_each_other(tmp_path):
    for attempt in range(5):
        place = tmp_path / str(attempt)
        finish(place)
        DAMAGE["a metric edited"](place)
        start = fork.Barrier(4)
        with contextlib.ExitStack() as stack:
            children = [stack.enter_context(process(read_together, place, start)) for _ in range(4)]
            assert [answer.recv() for _, answer in children] == [None] * 4
        assert len(list(place.glob("record.json.corrupt-*"))) == 1


def train_some(places, started):
    started.send(None)
    for place in places:
        with records.lock(place):
            records.write_json(place / "run.json", {})
            records.write_points(place, [])
            for step in range(0, 400, 20):
                records.append_points(place, [(step, "train_loss", None, None, 1 / (step + 1))])
            records.write(place, record())


def test_a_look_at_a_run_that_is_being_written_disturbs_nothing(tmp_path):
    places = [tmp_path / str(k) for k in range(30)]
    seen = set()
    with process(train_some, places) as (child, started):
        started.recv()
        while child.is_alive():
            seen |= {records.state(place) for place in places}
    assert child.exitcode == 0
    assert seen <= {"missing", "running", "finished"}
    assert {records.state(place) for place in places} == {"finished"}
    assert list(tmp_path.glob("*/*.corrupt-*")) == []


def test_writing_the_record_removes_checkpoints_but_not_those_set_aside(tmp_path):
    checkpoint(tmp_path, 20)
    (tmp_path / "checkpoint-00000010-abc.ckpt.corrupt-20260101-000000").write_bytes(b"")
    finish(tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == [
        "checkpoint-00000010-abc.ckpt.corrupt-20260101-000000"
    ]


# Locks and states ----------------------------------------------------------------------------------------------


def hold(place, started):
    with records.lock(place):
        started.send(None)
        time.sleep(60)


def test_a_run_that_another_process_trains_is_busy_until_that_dies(tmp_path):
    with process(hold, tmp_path) as (child, started):
        started.recv()
        assert records.is_locked(tmp_path)
        assert records.state(tmp_path) == "running"
        with pytest.raises(records.Busy, match="another process"), records.lock(tmp_path):
            pass
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert not records.is_locked(tmp_path)
        with records.lock(tmp_path):
            assert records.is_locked(tmp_path)
    assert not records.is_locked(tmp_path)


def test_a_run_whose_damaged_record_is_computed_again_is_running(tmp_path):
    finish(tmp_path)
    with process(hold, tmp_path) as (_, started):
        started.recv()
        DAMAGE["a metric edited"](tmp_path)
        assert records.state(tmp_path) == "running"


def ask_for_ever(place, started):
    records.is_locked(place)
    started.send(None)
    while True:
        records.is_locked(place)


def test_asking_for_a_lock_disturbs_neither_those_who_take_it_nor_those_who_ask(tmp_path):
    with records.lock(tmp_path):
        pass
    with process(ask_for_ever, tmp_path) as (_, first), process(ask_for_ever, tmp_path) as (_, second):
        first.recv()
        second.recv()
        assert not any(records.is_locked(tmp_path) for _ in range(2000))
    with process(ask_for_ever, tmp_path) as (_, started):
        started.recv()
        for _ in range(200):
            with records.lock(tmp_path):
                pass


def test_asking_for_a_lock_leaves_no_trace(tmp_path):
    assert not records.is_locked(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_the_state_of_a_run_is_what_lies_in_its_folder(tmp_path):
    assert records.state(tmp_path / "nowhere") == "missing"
    tmp_path.joinpath("slurm.json").write_text("{}")  # queued
    assert records.state(tmp_path) == "missing"
    records.write_json(tmp_path / "run.json", {})
    assert records.state(tmp_path) == "crashed"
    checkpoint(tmp_path, 20)
    assert records.state(tmp_path) == "interrupted"
    finish(tmp_path, status="stuck")
    assert records.state(tmp_path) == "stuck"


# Checkpoints ---------------------------------------------------------------------------------------------------


def checkpoint(place, step, content=None):
    """Keeps a checkpoint without removing older ones, as when the process dies in between."""
    older = [(path, path.read_bytes()) for path in place.glob("checkpoint-*.ckpt")]
    part = place / ".checkpoint.part"
    part.write_bytes(content or f"weights after {step} steps".encode())
    records.keep_checkpoint(place, step, part)
    for path, kept in older:
        path.write_bytes(kept)


def test_only_the_newest_checkpoint_is_kept(tmp_path):
    for step in (20, 40, 60):
        (tmp_path / "part").write_bytes(b"x" * step)
        records.keep_checkpoint(tmp_path, step, tmp_path / "part")
    (only,) = tmp_path.iterdir()
    assert records.checkpoint(tmp_path) == only
    assert only.read_bytes() == b"x" * 60


def test_without_a_checkpoint_there_is_none(tmp_path):
    assert records.checkpoint(tmp_path) is None


def test_a_damaged_checkpoint_is_set_aside_and_an_older_sound_one_is_used(tmp_path, caplog):
    for step in (99_999, 100_000, 8):
        checkpoint(tmp_path, step)
    newest = max(tmp_path.glob("checkpoint-00100000-*.ckpt"))
    assert records.checkpoint(tmp_path) == newest
    newest.write_bytes(newest.read_bytes()[:-1])
    assert records.checkpoint(tmp_path).name.startswith("checkpoint-00099999-")
    assert str(newest) in caplog.text
    assert "does not match its own hash" in caplog.text
    (aside,) = tmp_path.glob("*.corrupt-*")
    assert aside not in tmp_path.glob("checkpoint-*.ckpt")
    for path in tmp_path.glob("checkpoint-*.ckpt"):
        path.write_bytes(b"")
    assert records.checkpoint(tmp_path) is None


# Points --------------------------------------------------------------------------------------------------------


def test_points_are_read_to_the_last_bit(tmp_path):
    rng = random.Random(0)
    values = [rng.uniform(-1, 1) * 10 ** rng.randint(-300, 300) for _ in range(200)]
    values += [0.1, 1 / 3, 5e-324, math.inf, -math.inf]
    axes = [(None, None), (3, None), (-1.5, 1e-300), (0, 7)]
    rows = [(k, "train_loss", *axes[k % 4], v) for k, v in enumerate(values)]
    records.write_points(tmp_path, rows[:50])
    records.append_points(tmp_path, rows[50:])
    assert records.read_points(tmp_path) == rows


def test_a_run_folder_of_version_0_1_is_read_and_its_damage_is_noticed(tmp_path):
    """It has curves.csv, without x and y, and a hash of that in its record."""
    (tmp_path / "curves.csv").write_text("step,metric,value\n20,lr,0.1\n40,train_loss,0.30000000000000004\n")
    assert records.last_step(tmp_path) == 40
    old = record(curves_sha256=hashlib.sha256((tmp_path / "curves.csv").read_bytes()).hexdigest())
    content = old | {"sha256": hashlib.sha256(json.dumps(old, sort_keys=True).encode()).hexdigest()}
    records.write_json(tmp_path / "record.json", content)
    assert records.read_points(tmp_path) == [(20, "lr", None, None, 0.1), (40, "train_loss", None, None, 0.1 + 0.2)]
    assert records.read_with_points(tmp_path) == (content, ["20,lr,,,0.1", "40,train_loss,,,0.30000000000000004"])
    with open(tmp_path / "curves.csv", "a") as file:
        file.write("60,lr,0.1\n")
    assert records.read(tmp_path) is None


def test_a_value_that_is_no_number_stays_none(tmp_path):
    records.write_points(tmp_path, [(20, "train_loss", None, None, math.nan)])
    ((step, metric, _, _, value),) = records.read_points(tmp_path)
    assert (step, metric) == (20, "train_loss")
    assert math.isnan(value)


def test_a_last_line_that_is_half_written_is_left_out_wherever_it_is_cut(tmp_path):
    records.write_points(tmp_path, ROWS)
    content = (tmp_path / "points.csv").read_bytes()
    before = content.rindex(b"\n", 0, -1) + 1
    for end in range(before, len(content)):
        (tmp_path / "points.csv").write_bytes(content[:end])
        assert records.read_points(tmp_path) == ROWS[:-1]
        assert records.last_step(tmp_path) == 40


@pytest.mark.parametrize("count", [0, 1, 2, 5, 1000])
def test_the_last_step_is_that_of_the_last_row(tmp_path, count):
    rows = [(20 * (k + 1), "train_error_running", None, None, 100 / (k + 1)) for k in range(count)]
    records.write_points(tmp_path, rows)
    assert records.last_step(tmp_path) == 20 * count
    assert records.read_points(tmp_path) == rows


def test_a_run_that_has_not_begun_is_at_step_zero(tmp_path):
    assert records.last_step(tmp_path) == 0
    assert records.read_points(tmp_path) == []


def test_a_record_in_the_folder_of_another_run_is_set_aside(tmp_path):
    place = tmp_path / "plain8-s0-0123456789"
    records.write_points(place, [(1, "lr", None, None, 0.1)])
    records.write(place, {"run_id": place.name, "status": "finished"})
    assert records.read(place) is not None
    other = shutil.copytree(place, tmp_path / "plain8-s1-0123456789")
    assert records.read(other) is None
    assert [path.name for path in other.glob("record.json*")] != ["record.json"]
    link = tmp_path / "plain8-s2-0123456789"
    link.symlink_to(place)
    assert records.read(link) is None
    assert records.read(place) is not None, "it was set aside in its own run's folder"
    with pytest.raises(UserError, match="is a link"):
        records.check_writable(link)


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link"), records.lock(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()
