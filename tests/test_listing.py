"""Plans and counts as tables, in a narrow terminal, in a wide one and in a pipe."""

import itertools
import math
import re

import pytest
from rich.console import Console

from resnet_repro import experiment, listing, planning
from resnet_repro.costs import Costs, Source, Timing
from resnet_repro.experiment import Claim, Experiment


@pytest.fixture
def planned(tmp_path):
    return planning.plan(experiment.load("tiny"), [f"env.runs_dir={tmp_path}"])


@pytest.fixture
def narrow(monkeypatch):
    """As if the output were a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert Console().is_terminal


def printed(capsys, planned, costs=None, **options):
    listing.plan(planned, costs or Costs([]), 2, **options)
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()]


def test_in_a_pipe_every_run_has_its_line_with_its_overrides(planned, capsys):
    lines = printed(capsys, planned)
    assert all(any(line.startswith(plan.id) and " ".join(plan.overrides) in line for line in lines) for plan in planned)
    assert "8 runs: how long is not known: nothing like it was measured yet" in lines


def test_a_narrow_terminal_shows_a_line_for_each_cell(planned, capsys, narrow):
    timings = [Timing(plan.id, "digits", 1.0, 10.0 + 2 * plan.run.seed, "CPU") for plan in planned]
    lines = printed(capsys, planned, Costs([Source(timings)]))
    assert max(len(line) for line in lines[:6]) <= 80
    assert [line.split() for line in lines[1:5]] == [
        ["plain", "8", "0-1", "2", "11"], ["plain", "14", "0-1", "2", "11"],
        ["resnet", "8", "0-1", "2", "11"], ["resnet", "14", "0-1", "2", "11"],
    ]  # fmt: skip


def test_states_that_have_no_room_for_a_column_each_share_one(capsys, narrow, monkeypatch):
    planned = planning.plan(experiment.load("shortcut-scale-digits"))
    kinds = itertools.cycle(["finished", "diverged", "stuck", "failed", "crashed", "missing", "missing"])
    states = {one.id: kind for one, kind in zip(planned, kinds, strict=False)}
    monkeypatch.setattr(listing, "state", lambda one: states[one.id])
    lines = printed(capsys, planned)
    assert max(len(line) for line in lines[: lines.index("")]) <= 120
    assert "2 finished, 1 diverged, 1 stuck, 1 failed, 1 crashed" in lines[1]


def test_everything_can_be_asked_for_in_a_narrow_terminal(planned, capsys, narrow):
    lines = printed(capsys, planned, everything=True)
    assert sum(line.startswith(plan.id) for plan in planned for line in lines) == 8


@pytest.mark.parametrize("name", experiment.ids())
def test_the_cells_of_every_experiment_fit_80_columns(name, capsys, narrow, tmp_path):
    lines = printed(capsys, planning.plan(experiment.load(name), [f"env.runs_dir={tmp_path}"]))
    assert max(len(line) for line in lines[: lines.index("")]) <= 80


def test_the_packs_of_a_plan_are_shown(tmp_path, capsys):
    planned = planning.plan(experiment.load("tiny"), [f"env.runs_dir={tmp_path}", "env.engine=graph"])
    lines = printed(capsys, planned)
    assert any(line.startswith("8 runs in 2 packs: ") for line in lines)
    pack = {line.split()[0]: line.split()[2] for line in lines if line.startswith(("plain", "resnet"))}
    assert {name.split("-")[0]: number for name, number in pack.items()} == {
        "plain14": "1", "resnet14": "1", "plain8": "2", "resnet8": "2"
    }  # fmt: skip


def test_whole_numbers_are_told_in_ranges():
    assert listing.ranges([4, 0, 1, 2, 3, 2]) == "0-4"
    assert listing.ranges([0, 2, 3, 7]) == "0,2-3,7"


def test_a_plan_says_how_many_seeds_decide_a_claim_and_how_often_they_find_its_smallest_effect(capsys):
    of, minus = {"model": "plain"}, {"model": "resnet"}
    asked = [
        Claim("most-fail", "Most fail.", "failed", of, [0.5, 1], smallest_effect=0.4),
        Claim("higher", "It is higher.", "test_error", of, [0, math.inf], minus, smallest_effect=5),
        Claim("lower", "It is lower.", "test_error", of, [-math.inf, 0], minus),
    ]
    grid = [{"task": "digits", "model": ["plain", "resnet"], "seed": list(range(8))}]
    spec = Experiment("made-up", "?", "none", grid, asked, [])
    listing.claims(spec, planning.plan(spec))
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert rows[1] == ["most-fail", "8", "0.5", "to", "1", "0.4", "43", "%"]  # 0.9 ** 8
    assert rows[2][:7] == ["higher", "8", "0", "to", "∞", "5", "s"]
    assert rows[3] == ["lower", "8", "-∞", "to", "0", "–"]


def test_a_plan_says_what_the_looks_of_the_probes_add_to_the_steps(tmp_path):
    asked = [f"env.runs_dir={tmp_path}", "optim.steps=400", "optim.milestones=[200,300]", "measure.every=100"]
    spec = experiment.load("tiny")
    none, two = (planning.plan(spec, [*asked, f"measure.probes=[{names}]"]) for names in ("", "gradients,surface"))
    assert listing.measuring(none) == ""
    gradients, surface = (listing.PROBES[name].steps for name in ("gradients", "surface"))
    shares = 100 * 5 * gradients / 400, 100 * surface / 400  # looks at 0, 100, 200, 300, 400, and at the end alone
    expected = (
        f"probes add about {sum(shares):.0f} % to the steps (surface {shares[1]:.0f} %, gradients {shares[0]:.0f} %)"
    )
    assert listing.measuring(two) == expected
    untrained = planning.plan(spec, [*asked[:1], "optim.steps=0", "measure.probes=[gradients]"])
    assert listing.measuring(untrained) == ""
