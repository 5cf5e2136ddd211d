"""Progress, read from run folders made by hand, in words, on a terminal and in a pipe."""

import csv
import fcntl
import io
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from rich.console import Console

from resnet_repro import experiment, planning, records
from resnet_repro.analysis.verdicts import read_verdicts
from resnet_repro.config import cost
from resnet_repro.costs import Costs, Source, Timing
from resnet_repro.metrics import METRICS, SHARES
from resnet_repro.planning import expand
from resnet_repro.progress import braille
from resnet_repro.progress.grid import grid, headline
from resnet_repro.progress.leaning import Claims, Leaning
from resnet_repro.progress.parts import View
from resnet_repro.progress.screen import Screen, line
from resnet_repro.progress.state import PRIOR_SECONDS, Seen, Snapshot, Watch
from resnet_repro.provenance import ROOT

STEPS = 400


@pytest.fixture
def planned(tmp_path):
    """Three runs that cost 1 : 2 : 5, by their depth."""
    common = ["task=digits", f"optim.steps={STEPS}", f"env.runs_dir={tmp_path}"]
    return expand([[[*common, f"model.depth={depth}"] for depth in (20, 38, 98)]])


def place(plan):
    return records.folder(plan.run, plan.id)


def reach(plan, step):
    records.write_points(place(plan), [(s, "train_loss", None, None, 1.0) for s in range(20, step + 1, 20)])


def finish(plan, error=1.0):
    reach(plan, STEPS)
    flags = dict.fromkeys(SHARES, False)
    measured = {"metrics": dict.fromkeys(METRICS, error), "parameters": 1, "diverged_step": None, "provenance": {}}
    records.write(place(plan), {"status": "finished", "status_flags": flags, **measured})


def plain(written):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written)


# Snapshots -----------------------------------------------------------------------------------------------------


def running(snapshot):
    return [(seen.plan.id, seen.fraction) for seen in snapshot.running]


def priced(planned, seconds):
    """Costs that know these runs, at so many seconds each."""
    timings = [Timing(plan.id, "digits", cost(plan.run), s, "CPU") for plan, s in zip(planned, seconds, strict=True)]
    return Costs([Source(timings)])


def test_before_anything_began_nothing_is_done_and_without_measurements_no_end_is_promised(planned):
    seen = Watch(planned).look()
    assert (seen.done, running(seen), seen.work, seen.left) == (0, [], 0.0, None)


def test_work_is_weighed_by_the_cost_of_runs(planned):
    watch = Watch(planned)
    finish(planned[0])
    with records.lock(place(planned[2])):
        reach(planned[2], 100)
        seen = watch.look()
    assert (seen.done, len(seen.runs)) == (1, 3)
    assert running(seen) == [(planned[2].id, 0.25)]
    first, second, third = (cost(plan.run) for plan in planned)
    assert seen.work == pytest.approx((first + 0.25 * third) / (first + second + third))


def test_an_interrupted_run_counts_for_what_it_did_and_is_not_running(planned):
    with records.lock(place(planned[0])):
        reach(planned[0], 200)
    seen = Watch(planned).look()
    assert (seen.done, running(seen)) == (0, [])
    assert seen.work == pytest.approx(0.5 * cost(planned[0].run) / sum(cost(plan.run) for plan in planned))


def test_a_run_is_done_when_its_record_is_there_and_not_at_its_last_step(planned):
    watch = Watch(planned)
    with records.lock(place(planned[0])):
        reach(planned[0], STEPS)
        assert running(watch.look()) == [(planned[0].id, 0.99)]
        finish(planned[0])
        assert (watch.look().done, running(watch.look())) == (1, [])
    for plan in planned[1:]:
        finish(plan)
    assert (watch.look().done, watch.look().work) == (3, pytest.approx(1.0))


def test_the_time_left_is_known_at_once_from_measurements_and_packed_onto_the_slots(planned):
    costs = priced(planned, (10, 20, 50))
    assert Watch(planned, costs, at_once=1).look().left == pytest.approx(80)
    assert Watch(planned, costs, at_once=2).look().left == pytest.approx(50)  # 50 beside 20 and 10
    finish(planned[2])
    assert Watch(planned, costs, at_once=2).look().left == pytest.approx(20)


def test_the_time_left_follows_the_pace_that_is_seen(planned):
    now = [1000.0]
    watch = Watch(planned, priced(planned, (10, 20, 50)), at_once=1, clock=lambda: now[0])
    with records.lock(place(planned[2])):
        reach(planned[2], 20)
        assert watch.look().left == pytest.approx(80 - 2.5)
        now[0] += 3 * 22.5  # three times as slow as predicted
        reach(planned[2], 200)
        prior = min(PRIOR_SECONDS, 80 / 10)
        pace = (67.5 + prior) / (22.5 + prior)
        seen = watch.look()
    assert 1 < pace < 3
    assert seen.left == pytest.approx(pace * 55)
    assert seen.running[0].left == pytest.approx(pace * 25)


def test_without_measurements_the_pace_alone_counts_and_what_was_done_before_says_nothing_of_it(planned):
    now = [1000.0]
    finish(planned[0])
    watch = Watch(planned, at_once=1, clock=lambda: now[0])
    with records.lock(place(planned[1])):
        assert watch.look().left is None
        reach(planned[1], 200)
        now[0] += 100
        begun, waiting = (cost(plan.run) for plan in planned[1:])
        assert watch.look().left == pytest.approx(100 * (0.5 * begun + waiting) / (0.5 * begun))


def test_a_run_of_no_steps_can_be_watched(tmp_path):
    (plan,) = expand([[["optim.steps=0", f"env.runs_dir={tmp_path}"]]])
    with records.lock(place(plan)):
        assert running(Watch([plan]).look()) == [(plan.id, 0.0)]
        began, later = iter([0.0]), 100.0
        watch = Watch([plan], priced([plan], [0.0]), at_once=1, clock=lambda: next(began, later))
        assert [watch.look().left for _ in range(2)] == [None, None]
    finish(plan)
    assert Watch([plan]).look().work == 1.0


# Words ---------------------------------------------------------------------------------------------------------


def snapshot_of(planned, fractions, done=0, work=0.0, left=None):
    """A snapshot in which the first runs are done and the next ones have reached these fractions."""
    runs = [Seen(plan, place(plan), record={} if k < done else None) for k, plan in enumerate(planned)]
    for seen, fraction in zip(runs[done:], fractions, strict=False):
        seen.active, seen.fraction = True, fraction
    return Snapshot(runs, work, left)


def test_a_line_names_what_is_done_what_runs_and_when_it_ends(planned):
    said = line(snapshot_of(planned, [0.454, 0.99], done=1, work=0.461, left=190.0))
    end = time.strftime("%H:%M", time.localtime(time.time() + 190))
    before, _, clock = said.rpartition("ends about ")
    assert before == (
        "1/3 runs done, 46 % of the work, 2 running (resnet38-s0 45 %, resnet98-s0 99 %), 3 min 10 s left, "
    )
    assert re.fullmatch(r"\d\d:\d\d", clock)
    assert abs(int(clock[-2:]) - int(end[-2:])) in (0, 1, 59)


def test_a_line_promises_no_end_that_it_does_not_know(planned):
    assert line(snapshot_of(planned, [])) == "0/3 runs done, 0 % of the work, 0 running"
    assert "left" not in line(snapshot_of(planned, [], done=3, work=1.0, left=0.0))


def test_a_line_names_four_runs_at_most(tmp_path):
    many = expand([[["task=digits", f"env.runs_dir={tmp_path}", f"seed={k}"] for k in range(9)]])
    said = line(snapshot_of(many, [0.5] * 9))
    assert "9 running" in said
    assert said.count("resnet20") == 4


# The screen, drawn from what a sweep may look like -----------------------------------------------------------------


def seen_midway(name):
    """The view of an experiment of which one run in three is done, and two train."""
    spec = experiment.load(name)
    planned = planning.plan(spec)
    runs = []
    for k, plan in enumerate(planned):
        ended = {"status": "diverged" if k % 6 == 0 else "finished", "metrics": dict.fromkeys(METRICS, 12.345)}
        runs.append(Seen(plan, Path("nowhere"), fraction=k / len(planned), record=ended if k % 3 == 0 else None))
    for one in (runs[1], runs[-1]):
        one.active, one.left, one.where = True, 4000.0, "Slurm job 12_3"
    view = View(name, grid(planned), headline(spec), Snapshot(runs, 0.4, 4000.0), hint="Ctrl-C stops.")
    view.curves = [(one, [(0.0, 90.0), (one.plan.run.optim.steps, 3.0)]) for one in (runs[1], runs[-1])]
    view.leanings = [Leaning(c.id, "supported", False, 3, 5, "−88.47 [−103.71, −73.22]") for c in spec.claims]
    view.notes = ["first picture: results/local/somewhere/curves.png"]
    return view


@pytest.mark.parametrize("name", experiment.ids())
@pytest.mark.parametrize(("width", "height"), [(79, 24), (119, 40), (40, 10)])
def test_every_experiment_fits_the_screen(name, width, height):
    screen = Screen(Console(file=io.StringIO(), force_terminal=True, color_system="256", width=1000))
    lines = [plain(line) for line in screen.lines(seen_midway(name), width, height)]
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width
    assert "runs done, 2 running" in lines[0] or width == 40
    assert lines[-1] == "Ctrl-C stops."


def test_at_120_columns_the_curve_stands_beside_the_table_and_the_claims_below():
    screen = Screen(Console(file=io.StringIO(), color_system=None, width=1000))
    lines = screen.lines(seen_midway("degradation-digits"), 119, 40)
    (row,) = [line for line in lines if line.startswith("plain  ")]
    assert "12.3 ±0.0" in row
    assert "│" in row
    assert "plain-56-above-20          n = 3 of 5  leaning supported  −88.47 [−103.71, −73.22]" in lines


def test_at_80_columns_the_curve_stands_below_the_table_or_each_run_has_its_own_in_small():
    screen = Screen(Console(file=io.StringIO(), color_system=None, width=1000))
    view = seen_midway("degradation-digits")
    tall, low = screen.lines(view, 79, 45), screen.lines(view, 79, 24)
    assert any(line.startswith("100 ┤") for line in tall)
    assert not any("┤" in line for line in low)
    assert any("error 3 %" in line for line in low)


def test_the_settings_that_vary_choose_rows_and_columns():
    table = grid(planning.plan(experiment.load("degradation-digits")))
    assert (table.by, table.across, table.heads) == (("model",), "depth", [20, 32, 56])
    table = grid(planning.plan(experiment.load("shortcut-scale-digits")))
    assert (table.by, table.across) == (("shortcut_scale", "branch_scale"), "depth")
    assert len(table.rows) == 10
    table = grid(planning.plan(experiment.load("batchnorm-digits")))
    assert (table.by, table.across) == (("model", "norm", "branch_scale", "lr"), "depth")


def test_a_table_without_depths_has_the_setting_of_most_values_as_columns(tmp_path):
    cells = [f"optim.lr={lr} model.norm={norm}" for lr in (0.1, 0.01, 0.001) for norm in ("batch", "none")]
    table = grid(expand([[[*cell.split(), f"env.runs_dir={tmp_path}"] for cell in cells]]))
    assert (table.by, table.across, table.heads) == (("norm",), "lr", [0.001, 0.01, 0.1])


def test_braille_draws_a_line_from_corner_to_corner():
    assert braille.plot([(0, 0), (1, 1)], 2, 1, 1, 1) == ["⡠⠊"]
    assert braille.plot([(0, 1)], 1, 2, 1, 1) == ["⠁", " "]
    assert braille.plot([(0, 5), (1, -5)], 1, 1, 1, 1) == ["⢣"]  # beyond the edge is drawn at it


# Claims ----------------------------------------------------------------------------------------------------------


def recorded(name, seeds):
    """The plan of an experiment, and the records behind what is committed of these seeds."""
    planned = planning.plan(experiment.load(name))
    with open(ROOT / "results" / name / "data" / "runs.csv", newline="") as file:
        rows = {row["run_id"]: row for row in csv.DictReader(file)}
    records = {}
    for plan in planned:
        row = rows[plan.id]
        if plan.run.seed in seeds:
            number = {k: float(row[k]) if row[k] else None for k in (*METRICS, "diverged_step", "parameters")}
            flags = {share: bool(int(row[share])) for share in SHARES}
            records[plan.id] = {"status": row["status"], "status_flags": flags, "metrics": number, **number}
            records[plan.id]["provenance"] = {"device": row["device"]}
    return planned, records


@pytest.mark.parametrize("name", ["degradation-digits", "batchnorm-digits"])
def test_when_all_is_done_the_claims_are_the_verdicts_of_the_report(name):
    planned, known = recorded(name, range(1000))
    said = Claims(experiment.load(name), planned).lean(known)
    verdicts = read_verdicts(ROOT / "results" / name / "verdicts.csv")
    assert [(one.claim, one.words, one.n) for one in said] == [(v.claim, v.verdict, v.n) for v in verdicts]


def test_claims_lean_as_seeds_end_and_are_open_before(tmp_path):
    planned, known = recorded("degradation-digits", (100, 101, 102, 103, 104))
    for plan in planned:
        plan.run.env.runs_dir = str(tmp_path)
    claims = Claims(experiment.load("degradation-digits"), planned)
    assert {(one.n, one.planned, one.words) for one in claims.lean({})} == {(0, 8, "open")}
    said = {one.claim: one for one in claims.lean(known)}
    assert (said["plain-56-above-20"].words, said["plain-56-above-20"].n) == ("leaning supported", 5)
    assert said["resnet-56-below-plain-56"].words == "leaning supported"
    one = {name: record for name, record in known.items() if "-s100-" in name}
    assert {said.words for said in claims.lean(one)} == {"open"}


def test_runs_that_are_not_of_the_grid_have_no_claims(planned):
    assert Claims(experiment.load("degradation-digits"), planned).lean({}) == []


# On a terminal and elsewhere -----------------------------------------------------------------------------------

# One run is finished at the start; another is trained for `seconds` and then finished, with output that is not ours.
SWEEP = """
import os, sys, time
sys.path.insert(0, {here!r})
from test_progress import expand, finish, place, reach, records
from resnet_repro import progress
progress.PLAIN_SECONDS, progress.DRAW_SECONDS = 0.5, 0.2
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
    assert lines[0].endswith("Starting: PyTorch and Lightning are loaded once, which takes some seconds.")
    assert re.fullmatch(r"\d\d:\d\d:\d\d 1/2 runs done, \d+ % of the work, 1 running \(resnet38-s0 50 %\).*", lines[1])
    assert lines[-2][9:] == "2/2 runs done, 100 % of the work, 0 running"
    assert lines[-1] == "after"
    assert len(lines) <= 6
    assert done.stderr == ""


def on_a_terminal(command, columns=120, rows=40, resize=None, **environment):
    """What a command writes to a terminal of this size, and its exit code. resize: its size once something stands."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    variables = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")}
    variables |= {"TERM": "xterm-256color", **environment}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=variables)
    written, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if select.select([ours], [], [], 0.2)[0]:
            written += os.read(ours, 65536)
        if resize and b"runs done" in written:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *resize, 0, 0))
            resize = None
    os.close(theirs)
    while select.select([ours], [], [], 1)[0]:
        try:
            written += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    return written.decode(), process.wait(timeout=10)


def screens(written):
    """The screens that were drawn whole, as lines, and what stands on the terminal after the last."""
    inside, after = written.rsplit("\x1b[?1049l", 1)
    drawn = [part.split("\x1b[J")[0] for part in inside.split("\x1b[H")[1:] if "\x1b[J" in part]
    return [[line.rstrip() for line in plain(one).split("\r\n")] for one in drawn], plain(after)


def test_on_a_terminal_progress_is_a_screen_of_its_own_and_its_last_state_stays(tmp_path):
    written, code = on_a_terminal(sweep(tmp_path))
    drawn, after = screens(written)
    assert code == 0
    assert any("resnet38-s0" in line and "50 %" in line for lines in drawn for line in lines)
    assert any(line.startswith("single  1 of 2 runs done, 1 running, 0 to go") for lines in drawn for line in lines)
    assert all(len(lines) <= 40 and len(line) < 120 for lines in drawn for line in lines)
    assert "2 of 2 runs done" in after
    assert after.rstrip().endswith("after")
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor is shown again


def test_a_resized_screen_is_drawn_anew_at_its_new_size(tmp_path):
    wait = "[time.sleep(0.1) for _ in iter(lambda: display.size, (59, 20))]"
    written, code = on_a_terminal(sweep(tmp_path, wait), columns=120, rows=40, resize=(20, 60))
    drawn, after = screens(written)
    assert code == 0
    assert max(len(line) for line in drawn[0]) > 60
    assert max(len(line) for line in [*drawn[-1], *after.splitlines()]) < 60
    assert len(drawn[-1]) <= 20


def test_without_colour_the_screen_says_the_same(tmp_path):
    written, _ = on_a_terminal(sweep(tmp_path), columns=80, rows=24, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", written)
    assert any("◐" in line for lines in screens(written)[0] for line in lines)


@pytest.mark.parametrize(
    "environment",
    [{"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_a_terminal_that_cannot_draw_gets_lines(tmp_path, environment):
    written, code = on_a_terminal(sweep(tmp_path), columns=80, **environment)
    assert code == 0
    assert "\x1b" not in written
    assert re.search(r"\d\d:\d\d:\d\d 1/2 runs done", written)


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
    assert done.stdout.splitlines()[-1][9:].startswith("1/2 runs done")
    assert " left" not in done.stdout.splitlines()[-1], "nothing runs any more"


def test_what_the_body_says_is_a_line_of_its_own(tmp_path):
    said = sweep(tmp_path, "display.say('first picture: [results]/curves.png')")
    piped = subprocess.run(said, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "first picture: [results]/curves.png" in piped.splitlines()


def test_what_is_printed_under_the_screen_does_not_break_it_and_stays_afterwards(tmp_path):
    said = "print('Slurm: 3 jobs'); import logging; logging.warning('set aside'); display.say('first picture')"
    written, code = on_a_terminal(sweep(tmp_path, f"{said}; time.sleep(1.2)"), columns=80, rows=24)
    drawn, after = screens(written)
    assert code == 0
    assert any("first picture" in line for line in drawn[-1])
    assert "Slurm: 3 jobs" in after
    assert "first picture" in after
