"""`import resnet_repro as rr`, as a notebook uses it; training, sweeping and loading: tests/test_wheel.py."""

import csv
import subprocess
import sys

import cloudpickle
import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

import resnet_repro as rr
from resnet_repro import project
from resnet_repro.errors import UserError

NAME = "degradation-digits"


def test_importing_it_imports_nothing_else():
    code = "import sys; import resnet_repro; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.split(".")[0] for name in done.stdout.split()} - set(sys.stdlib_module_names)
    assert "resnet_repro" in imported
    assert not imported & {"torch", "numpy", "pandas", "matplotlib", "hydra", "omegaconf", "wandb", "yaml", "rich"}


def test_every_name_it_offers_is_there():
    assert set(rr.__all__) <= set(dir(rr))
    assert [name for name in rr.__all__ if not callable(getattr(rr, name))] == []


def test_results_are_the_numbers_of_the_files():
    results = rr.results(NAME, committed=True)
    with open(project.COMMITTED / NAME / "data" / "runs.csv", newline="") as file:
        errors = {row["run_id"]: float(row["test_error"]) for row in csv.DictReader(file)}
    assert results.runs["test_error"].to_dict() == errors
    with open(project.COMMITTED / NAME / "verdicts.csv", newline="") as file:
        verdicts = {row["claim"]: row["verdict"] for row in csv.DictReader(file)}
    assert results.verdicts["verdict"].to_dict() == verdicts
    assert not results.local
    assert "48 of 48 runs" in repr(results)


def test_what_was_measured_here_comes_before_what_is_committed(write_data, degradation, tmp_path, monkeypatch):
    from resnet_repro.experiment import load

    monkeypatch.setattr(project, "LOCAL", tmp_path)
    assert not rr.results(NAME).local
    write_data(load(NAME), tmp_path / NAME, degradation)
    assert rr.results(NAME).local
    assert not rr.results(NAME, committed=True).local
    assert rr.experiments().loc[NAME, ["local", "committed"]].tolist() == [True, True]


def test_a_figure_is_the_one_of_the_report_whatever_style_the_notebook_has(tmp_path):
    with mpl.rc_context({"font.size": 30, "axes.grid": False, "xtick.major.size": 20}):
        before = dict(mpl.rcParams)
        rr.figure(NAME, "curves", committed=True).savefig(tmp_path / "curves.png", dpi=200)
        assert dict(mpl.rcParams) == before
    mine, ours = (
        np.asarray(Image.open(f).convert("RGB"), int)
        for f in (tmp_path / "curves.png", project.COMMITTED / NAME / "curves.png")
    )
    assert mine.shape == ours.shape
    assert np.abs(mine - ours).mean() < 0.5  # of 255: the file has a palette of 256 colours


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: rr.results("nobody"), "no experiment 'nobody'"),
        (lambda: rr.results("degradation"), r"nothing was measured for degradation in .* or .*sweep\('degradation'\)"),
        (lambda: rr.figure(NAME, "curve"), "the figures of degradation-digits are curves, .*, got 'curve'"),
        (lambda: rr.train("model.depth=21"), "depth"),
        (lambda: rr.train(depth=20), "did you mean 'model.depth'"),
        (lambda: rr.sweep("tiny", **{"optim.lr": 0.3}), "makes other runs .*`base: tiny`"),
        (lambda: rr.sweep("tiny", launcher="nowhere"), "nowhere"),
        (lambda: rr.load("resnet20-s0-0000000000"), "measure.keep=net"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_done_is_said_before_anything_is(call, says):
    with pytest.raises(UserError, match=says):
        call()


@pytest.mark.parametrize("verb", rr.VERBS)
def test_a_verb_is_a_module_that_can_be_called_and_sent_to_another_process(verb):
    module = getattr(rr, verb)
    assert module is sys.modules[f"resnet_repro.{verb}"]
    assert cloudpickle.loads(cloudpickle.dumps(module)) is module
