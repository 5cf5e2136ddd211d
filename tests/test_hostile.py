"""Bad input, generated from the settings' schema and the experiment files' grammar: one line each, or it works.

Every field of config.py's dataclasses and every key of an experiment file is tried with each kind of bad value, so a
new field is tried as soon as it is there.
"""

import dataclasses
import re
import subprocess
import sys

import pytest
import yaml

from resnet_repro import memory
from resnet_repro.config import run_id
from resnet_repro.errors import UserError, sentence
from resnet_repro.experiment import Claim, Experiment, Figure, load, read
from resnet_repro.grammar import product
from resnet_repro.planning import plan
from resnet_repro.settings import check_hydra, compose, known_fields

BAD = ["", "null", "true", "nan", "inf", "-inf", "-1", "0", "0.5", "1e308", "-1e308", "1e-320", "99999999999",
       "9" * 400, "9" * 5000, "word", "two words", "λ", "'a\nb'", "'a\tb'", "'\u202e'", "x" * 2000, "x" * 20000, "[]",
       "[1]", "[[1]]", "[true]", "[nan]", "[-1,5]", "[99999999999]", "[" * 60 + "]" * 60, "{}", "{a: 1}",
       "{a: {b: [1]}}", "1,2", "range(3)", "choice(1,2)", "glob(*)", "${seed}", "${nowhere}", "${optim}",
       "${oc.env:NOWHERE}", "${now:%H}", "???", "*", "../x", "/etc", "~", "$HOME", "a=b", "'it''s", "\\", "(1", "1)",
       "#", "@", "1_000", "0x10", "١٢", "\ud800"]  # fmt: skip
"""Values as a user, a script or a slip may write them."""


def refusal(attempt):
    """What is said of a bad input: one line, cut where it would be long; None where it works."""
    try:
        attempt()
    except (UserError, OSError) as error:
        said = sentence(error) or f"a traceback of {error!r}"
        return said if len(said) < 1500 and not said.startswith("a traceback") else pytest.fail(said[:3000])
    return None


@pytest.mark.parametrize("key", known_fields())
def test_every_setting_refuses_a_bad_value_or_works(key):
    refused = 0
    for value in BAD:
        said = refusal(lambda value=value: memory.check([compose([f"{key}={value}"])]))
        if said is None:
            assert run_id(compose([f"{key}={value}"])) == run_id(compose([f"{key}={value}"]))
            assert product([f"{key}={value}"]) == [[f"{key}={value}"]]
        else:
            refused += 1
            assert key in said or re.search(r"full_key: |cannot be read|is too long|need at least", said), said
    assert refused >= 25  # most of them are nothing that any setting takes


@pytest.mark.parametrize("key", ["", " ", "model.", ".depth", "model..depth", "model.depth.x", "Model.depth", "env.x",
                                 "λ", "model/depth", "hydra", "model.depth@env", "-m", "--", "a" * 500])  # fmt: skip
def test_what_is_no_setting_is_refused(key):
    assert refusal(lambda: (check_hydra([f"{key}=20"]), compose([f"{key}=20"]))), key


HYDRA = ["hydra.mode=RUN", "hydra.mode=MULTIRUN", "hydra.sweeper=basic", "hydra/sweeper=basic",
         "hydra.launcher=unknown", "hydra/launcher=unknown", "hydra/launcher=local,slurm", "hydra/launcher=null",
         "hydra.launcher.unknown=1", "hydra.launcher._target_=os.system", "hydra.sweeper.experiment=tiny",
         "hydra.sweeper.max_batch_size=1", "hydra=1", "hydra.run.dir=/", "hydra.sweep.subdir=x",
         "hydra.output_subdir=x", "hydra.searchpath=[/]", "hydra.callbacks.x=1", "hydra.runtime.cwd=/",
         "hydra.overrides.task=[]", "hydra.job.num=x", "hydra/job_logging=unknown"]  # fmt: skip


@pytest.mark.parametrize("override", HYDRA)
def test_what_of_hydra_a_sweep_does_not_survive_is_refused(override):
    """As `sweep` does it: what a launcher takes is asked of the launcher."""
    said = refusal(lambda: (plan(load("tiny"), [override]), check_hydra(["hydra/launcher=local", override])))
    assert override.split("=")[0] in said


def test_a_launcher_that_there_is_not_is_told_with_the_nearest_that_there_is():
    assert "no 'slrum' (did you mean 'slurm'?); there are basic" in refusal(
        lambda: check_hydra(["hydra/launcher=slrum"])
    )


def test_what_another_launcher_takes_is_planned_for_it():
    assert plan(load("tiny"), ["hydra.launcher.gpus_per_node=0"])
    check_hydra(["hydra/launcher=slurm", "hydra.launcher.gpus_per_node=0"])


# Experiment files ----------------------------------------------------------------------------------------------

GRID = {"task": "digits", "model": "plain", "model.depth": [20, 56], "seed": [0, 1, 2, 3, 4]}
CLAIM = {"id": "worse", "says": "Deeper is worse.", "metric": "test_error", "of": {"depth": 56}, "region": [0, 1],
         "minus": {"depth": 20}, "best_over": None}  # fmt: skip
FIGURE = {"name": "curves", "draw": "learning_curves", "y": ["test_error"], "title": "", "where": {}, "panel": None,
          "hue": "depth", "paper": None}  # fmt: skip
FILE = {"question": "Why?", "source": "nobody", "grid": [GRID], "claims": [CLAIM], "figures": [FIGURE], "expected": ""}
VALUES = [None, True, 3, -1, 0.5, float("nan"), float("inf"), 10**400, "", "word", "../x", "/abs", "a\nb", "a\0b",
          "λ ½", "x" * 300, "${seed}", "${nowhere}", "\u202e", [], [1], [[1]], [[[1]]], [None], ["word"], {},
          {"a": 1}, {1: 2}, {"a": {"b": 1}}, [{}], [{"a": 1}], {"depth": [[20]]}, {"depth": None},
          list(range(2000))]  # fmt: skip


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """planned(content): the plan of an experiment file with this content."""
    path = tmp_path_factory.mktemp("experiments") / "hostile.yaml"

    def run(content):
        path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        return plan(read(path))

    assert len(run(FILE)) == 10
    return run


KEYS = [(kind, field.name) for kind in (Experiment, Claim, Figure) for field in dataclasses.fields(kind)]


def with_part(kind, change):
    """The sound file with one of its parts changed."""
    part = change({Experiment: FILE, Claim: CLAIM, Figure: FIGURE}[kind])
    return {Experiment: part, Claim: FILE | {"claims": [part]}, Figure: FILE | {"figures": [part]}}[kind]


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_every_key_of_an_experiment_file_refuses_a_bad_value_or_works(planned, kind, key):
    refused = 0
    for value in VALUES:
        content = with_part(kind, lambda part, value=value: part | {key: value})
        said = refusal(lambda content=content: planned(content))
        if said is not None:
            refused += 1
            assert "hostile" in said or key in ("grid", "probe_every"), said  # said of a cell, which has it
    assert refused >= 10


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_every_key_of_an_experiment_file_that_is_missing_or_misspelt_is_told_or_not_needed(planned, kind, key):
    said = refusal(lambda: planned(with_part(kind, lambda part: {k: v for k, v in part.items() if k != key})))
    assert said is None or key in said
    assert f"{key}x" in refusal(lambda: planned(with_part(kind, lambda part: part | {f"{key}x": 1})))


@pytest.mark.parametrize("key", ["task", "model", "optim.lr", "optim.milestones", "data.title", "env.runs_dir", "x"])
def test_a_setting_of_a_grid_refuses_a_bad_value_or_works(planned, key):
    for value in VALUES[:-1]:
        content = FILE | {"grid": [GRID | {key: value}], "claims": [], "figures": []}
        refusal(lambda content=content: planned(content))


# The command line ----------------------------------------------------------------------------------------------

COMMANDS = [
    ["train", "optim.milestones=[[1]]"],
    ["train", "-m", "hydra.mode=RUN", "seed=0,1"],
    ["train", "optim.batch=2000"],
    ["sweep", "../x"],
    ["sweep", "tiny", "--launcher", "nope"],
    ["sweep", "tiny", "--minutes", "nan"],
    ["sweep", "tiny", "model.width=1000000"],
    ["status", "/etc/passwd"],
    ["report", "../results/tiny"],
    ["campaign", "--experiments", "tiny", "--minutes", "inf"],
    ["campaign", "--experiments", "tiny", "seed=-1"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_bad_command_line_is_told_in_one_line_before_anything_starts(words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", f"resnet_repro.{words[0]}", *words[1:]],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: [^\n]+\n\n?", done.stderr), done.stderr
    assert not list(tmp_path.iterdir())
