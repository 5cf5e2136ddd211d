"""A run made once is found again: no committed id changes, whatever settings are added."""

import csv
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from resnet_repro import config, experiment, report
from resnet_repro.analysis import frames
from resnet_repro.config import Run, run_id, science
from resnet_repro.planning import expand, plan
from resnet_repro.settings import compose

COMMITTED = sorted(path.parent.parent.name for path in report.RESULTS.glob("*/data/runs.csv"))

FROZEN = {
    "model.family": "cifar",
    "model.block": "basic",
    "model.stride_on": "3x3",
    "model.order": "original",
    "model.activation": "relu",
    "model.branch_scale": "one",
    "model.starts_as": None,
    "model.norm_momentum": 0.1,
    "model.zero_init_residual": False,
    "model.long_skips": False,
    "model.growth": 12,
    "data.crop": "padded",
    "data.size": None,
    "data.resize": None,
    "data.stream": False,
    "data.images": None,
    "data.label_noise": 0.0,
    "data.teacher": None,
    "optim.warmup_every": None,
    "probes.train_error_images": None,
}
"""The default of every setting added after 0.1.0: what runs did before there was the setting. None ever changes."""


def later():
    parts = {f.name: f.default_factory() for f in fields(Run) if f.name != "env" and callable(f.default_factory)}
    assert all(is_dataclass(part) for part in parts.values())
    leaves = {f"{name}.{leaf.name}": leaf for name, part in parts.items() for leaf in fields(part)}
    return {key: leaf for key, leaf in leaves.items() if "added" in leaf.metadata}


def test_all_committed_runs_are_found_again():
    """Their settings are composed anew."""
    for name in COMMITTED:
        with open(report.RESULTS / name / "data" / "runs.csv", newline="", encoding="utf-8") as file:
            ids = {row["run_id"] for row in csv.DictReader(file)}
        assert ids == {planned.id for planned in plan(experiment.load(name))}


def test_every_run_of_version_0_1_is_found_again():
    """The 270 ids were hashed by 0.1.0; what it ran is no longer what the experiments declare."""
    with open(Path(__file__).parent / "runs-0.1.csv", newline="", encoding="utf-8") as file:
        hashed = {row["run_id"]: row["overrides"].split() for row in csv.DictReader(file)}
    assert len(hashed) == 270
    assert [planned.id for planned in expand([list(hashed.values())])] == list(hashed)


def test_the_defaults_of_later_settings_are_frozen():
    assert {key: leaf.default for key, leaf in later().items()} == FROZEN


def test_a_later_setting_is_part_of_the_id_where_it_differs_from_its_default():
    plain = compose(["seed=3"])
    assert "warmup_every" not in science(plain)["optim"]
    changed = compose(["seed=3", "optim.warmup_every=10"])
    assert science(changed)["optim"]["warmup_every"] == 10
    assert run_id(changed) != run_id(plain)
    assert config.columns(plain)["warmup_every"] is None


@pytest.mark.parametrize("key", FROZEN)
def test_a_later_setting_says_since_when_it_is_there(key):
    assert later()[key].metadata["added"] > "0.1.0"


def test_a_report_names_a_later_setting_only_where_a_run_sets_it():
    measured = frames.load(experiment.load("degradation-digits"), report.RESULTS / "degradation-digits")
    columns = {key.split(".")[1] for key in FROZEN}
    assert columns < set(measured.settings)
    assert not columns & set(measured.told)
    one_sets_it = measured.runs.copy()
    one_sets_it.iloc[3, one_sets_it.columns.get_loc("order")] = "full_preactivation"
    assert columns & set(replace(measured, runs=one_sets_it).told) == {"order"}
