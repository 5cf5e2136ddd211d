"""What a look is said to cost, against what was measured (benchmarks/probes.py)."""

import csv
import math
from pathlib import Path

import pytest

from resnet_repro.probes import PROBES

MEASURED = Path(__file__).parents[2] / "benchmarks" / "results" / "probes.csv"


def test_the_table_has_the_steps_of_the_dearest_look_that_was_measured():
    with open(MEASURED, newline="", encoding="utf-8") as file:
        rows = [(row["probe"], float(row["steps/look"])) for row in csv.DictReader(file)]
    assert {name for name, _ in rows} == set(PROBES)
    for name, probe in PROBES.items():
        dearest = math.ceil(max(steps for other, steps in rows if other == name))
        assert dearest <= probe.steps <= dearest + 2


@pytest.mark.parametrize(
    ("name", "steps", "every", "looks"),
    [("gradients", 400, 0, 2), ("gradients", 400, 150, 4), ("gradients", 400, 200, 3), ("gradients", 0, 0, 1),
     ("surface", 400, 100, 1)],
)  # fmt: skip
def test_a_run_is_looked_at_before_the_first_step_every_so_many_and_after_the_last(name, steps, every, looks):
    assert PROBES[name].cost(steps, every) == looks * PROBES[name].steps
