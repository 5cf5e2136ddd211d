"""Progress, read from run folders made by hand, in words, on a terminal and in a pipe."""

import os
import re
import select
import subprocess
import sys
import time

import pytest

from resnet_repro import records
from resnet_repro.metrics import SHARES
from resnet_repro.planning import expand
from resnet_repro.progress import Snapshot, Watch, duration, line

STEPS = 400


@pytest.fixture
def planned(tmp_path):
    """Three runs that cost 1 : 2 : 5, by their depth."""
    common = ["task=digits", f"optim.steps={STEPS}", f"env.runs_dir={tmp_path}"]
    return expand([[[*common, f"model.depth={depth}"] for depth in (20, 38, 98)]])


def place(plan):
    return records.folder(plan.run, plan.id)


def reach(plan, step):
    records.write_curves(place(plan), [(s, "train_loss", 1.0) for s in range(20, step + 1, 20)])


def finish(plan):
    reach(plan, STEPS)
    flags = dict.fromkeys(SHARES, False)
    records.write(place(plan), {"status": "finished", "status_flags": flags, "metrics": {}, "provenance": {}})


# Snapshots -----------------------------------------------------------------------------------------------------


def test_before_anything_began_nothing_is_done_and_no_end_is_promised(planned):
    assert Watch(planned).look() == Snapshot(done=0, total=3, running=[], work=0.0, left=None)


def test_work_is_weighed_by_the_cost_of_runs(planned):
    watch = Watch(planned)
    finish(planned[0])
    with records.lock(place(planned[2])):
        reach(planned[2], 100)
        seen = watch.look()
    assert (seen.done, seen.total) == (1, 3)
    assert seen.running == [(planned[2].id, 0.25)]
    assert seen.work == pytest.approx((20 + 0.25 * 98) / (20 + 38 + 98))


def test_an_interrupted_run_counts_for_what_it_did_and_is_not_running(planned):
    with records.lock(place(planned[0])):
        reach(planned[0], 200)
    seen = Watch(planned).look()
    assert (seen.done, seen.running) == (0, [])
    assert seen.work == pytest.approx(0.5 * 20 / (20 + 38 + 98))


def test_a_run_is_done_when_its_record_is_there_and_not_at_its_last_step(planned):
    watch = Watch(planned)
    with records.lock(place(planned[0])):
        reach(planned[0], STEPS)
        assert watch.look().running == [(planned[0].id, 0.99)]
        finish(planned[0])
        assert (watch.look().done, watch.look().running) == (1, [])
    for plan in planned[1:]:
        finish(plan)
    assert (watch.look().done, watch.look().work) == (3, pytest.approx(1.0))


def test_the_time_left_follows_from_the_work_done_since_the_watch_began(planned):
    finish(planned[0])  # earlier; says nothing of the speed now
    watch = Watch(planned, began=time.monotonic() - 100)
    assert watch.look().left is None
    reach(planned[1], 200)
    (place(planned[1]) / "lock").touch()
    left = watch.look().left
    rest, gained = 0.5 * 38 + 98, 0.5 * 38
    assert left == pytest.approx(100 * rest / gained, rel=0.01)


def test_a_run_of_no_steps_can_be_watched(tmp_path):
    (plan,) = expand([[["optim.steps=0", f"env.runs_dir={tmp_path}"]]])
    with records.lock(place(plan)):
        assert Watch([plan]).look().running == [(plan.id, 0.0)]
    finish(plan)
    assert Watch([plan]).look().work == 1.0


# Words ---------------------------------------------------------------------------------------------------------


def test_a_line_names_what_is_done_what_runs_and_when_it_ends():
    running = [("resnet110-s0-0123456789", 0.454), ("plain20-s4-0123456789", 0.99)]
    said = line(Snapshot(done=12, total=40, running=running, work=0.461, left=190.0))
    end = time.strftime("%H:%M", time.localtime(time.time() + 190))
    before, _, clock = said.rpartition("ends about ")
    assert before == (
        "12/40 runs done, 46 % of the work, 2 running (resnet110-s0 45 %, plain20-s4 99 %), 3 min 10 s left, "
    )
    assert re.fullmatch(r"\d\d:\d\d", clock)
    assert abs(int(clock[-2:]) - int(end[-2:])) in (0, 1, 59)


def test_a_line_promises_no_end_that_it_does_not_know():
    assert line(Snapshot(0, 3, [], 0.0, None)) == "0/3 runs done, 0 % of the work, 0 running"
    assert "left" not in line(Snapshot(3, 3, [], 1.0, 0.0))


def test_a_line_without_the_names_fits_a_terminal():
    snapshot = Snapshot(12, 40, [("resnet110-s0-0123456789", 0.454)] * 4, 0.461, 190.0)
    assert "resnet110" not in line(snapshot, name_runs=False)
    assert len(line(snapshot, name_runs=False)) < 80


def test_a_line_names_four_runs_at_most():
    said = line(Snapshot(0, 9, [(f"plain20-s{k}-0123456789", 0.5) for k in range(9)], 0.5, None))
    assert "9 running" in said
    assert said.count("plain20") == 4


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (41.6, "42 s"),
        (59.6, "1 min 0 s"),
        (190, "3 min 10 s"),
        (3599.7, "1 h 0 min"),
        (19200, "5 h 20 min"),
    ],
)
def test_durations_are_told_in_two_units(seconds, words):
    assert duration(seconds) == words


# On a terminal and elsewhere -----------------------------------------------------------------------------------

# One run is finished at the start; another is trained for `seconds` and then finished, with output that is not ours.
SWEEP = """
import os, sys, time
sys.path.insert(0, {here!r})
from test_progress import expand, finish, place, reach, records
from resnet_repro import progress
progress.PLAIN_SECONDS = 0.5
planned = expand([[["task=digits", "optim.steps=400", "env.runs_dir={runs}", f"model.depth={{d}}"] for d in (20, 38)]])
finish(planned[0])
with progress.shown(planned) as display, records.lock(place(planned[1])):
    reach(planned[1], 200)
    time.sleep(1.6)
    {body}
    finish(planned[1])
print("after")
"""


def sweep(tmp_path, body="pass"):
    code = SWEEP.format(here=os.path.dirname(__file__), runs=tmp_path, body=body)
    return [sys.executable, "-c", code]


def test_in_a_pipe_progress_is_plain_lines(tmp_path):
    done = subprocess.run(sweep(tmp_path), capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    assert "\x1b" not in done.stdout
    assert re.fullmatch(r"1/2 runs done, \d+ % of the work, 1 running \(resnet38-s0 50 %\).*", lines[0])
    assert lines[-2] == "2/2 runs done, 100 % of the work, 0 running"
    assert lines[-1] == "after"
    assert len(lines) <= 5
    assert done.stderr == ""


def on_a_terminal(command):
    """What a command writes to a terminal of 120 columns, and its exit code."""
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    written, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline and select.select([ours], [], [], 30)[0]:
        try:
            written += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    return written.decode(), process.wait(timeout=10)


def test_on_a_terminal_progress_is_a_display_with_the_names_of_the_runs(tmp_path):
    written, code = on_a_terminal(sweep(tmp_path))
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written)
    assert re.search(r"resnet38-s0 .* 50 %", plain)
    assert "1/2 runs done" in plain
    assert "2/2 runs done, 100 % of the work" in plain
    assert "\x1b[1A" in written or "\x1b[2K" in written  # it is drawn over, not again and again below
    assert plain.rstrip().endswith("after")
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h")  # the cursor is shown again


def test_the_display_survives_a_run_that_redirects_the_output(tmp_path):
    redirect = f"kept = os.dup(1); os.dup2(os.open('{tmp_path}/log', os.O_CREAT | os.O_WRONLY), 1); "
    redirect += "os.write(1, b'from the run'); time.sleep(1.2); os.dup2(kept, 1)"
    done = subprocess.run(sweep(tmp_path, redirect), capture_output=True, text=True, timeout=60, check=True)
    assert (tmp_path / "log").read_text() == "from the run"
    assert "from the run" not in done.stdout
    assert done.stdout.count("1 running") >= 2


def test_a_failing_body_ends_the_display_and_is_raised(tmp_path):
    done = subprocess.run(
        sweep(tmp_path, "raise KeyError('x')"), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "KeyError" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("1/2 runs done")


def test_what_the_body_says_is_a_line_of_its_own(tmp_path):
    said = sweep(tmp_path, "display.say('first picture: [results]/curves.png')")
    piped = subprocess.run(said, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "first picture: [results]/curves.png" in piped.splitlines()
