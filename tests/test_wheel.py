"""The wheel, installed for a project elsewhere: commands, what is packaged, and the user's own beside it."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
IN_WHEEL = ("resnet_repro", "hydra_plugins", "conf", "experiments", "results", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which the wheel of this tree is installed, with its commands in bin/; no network is used."""
    tree, folder = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("site")
    left_out = shutil.ignore_patterns("__pycache__", "local", ".rendered")
    for name in IN_WHEEL:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name, **({"ignore": left_out} if copy is shutil.copytree else {}))
    build = "import setuptools.build_meta as backend; backend.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=tree, check=True, capture_output=True)
    (wheel,) = (tree / "dist").glob("*.whl")
    install = [sys.executable, "-m", "uv", "pip", "install", "-q", "--offline", "--no-deps", "--target", str(folder)]
    subprocess.run([*install, "-p", sys.executable, str(wheel)], check=True, capture_output=True)
    return folder


@pytest.fixture
def project(tmp_path):
    """A stranger's folder: a task of their own, and an experiment on it that begins where a packaged one does."""
    for name, text in {
        "conf/task/short.yaml": "# @package _global_\ndata: {title: short}\noptim: {batch: 32}\n",
        "experiments/mine.yaml": "base: tiny\nfigures: []\nset: {task: short, model: resnet, model.depth: 8, seed: 0, "
        "optim.steps: 4, optim.milestones: [[2]], probes.curve_every: 4, probes.eval_every: 4}\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def run(site, project):
    """run("resnet-train", ...): what the command prints in the stranger's folder."""

    def command(name, *arguments, cwd=project):
        environment = os.environ | {"PYTHONPATH": str(site)}
        done = subprocess.run(
            [site / "bin" / name, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return command


def test_every_module_and_every_experiment_is_in_the_wheel(site):
    for here, there in (("resnet_repro", ""), ("conf", "conf"), ("experiments", "experiments")):
        files = [p for p in (ROOT / here).rglob("*") if p.suffix in (".py", ".yaml", ".jinja", ".csv")]
        assert files
        packaged = site / "resnet_repro" / there
        assert [f for f in files if not (packaged / f.relative_to(ROOT / here)).is_file()] == []


def test_in_an_empty_folder_the_commands_know_what_is_packaged(run, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "cifar10, cifar100, digits, folder" in run("resnet-train", "--help", cwd=empty)
    assert "48 runs: about" in run("resnet-sweep", "degradation-digits", "--plan", cwd=empty)
    assert list(empty.iterdir()) == []


def test_an_experiment_of_the_users_own_with_settings_of_their_own_is_swept_into_their_folder(run, site, project):
    before = {path for path in site.rglob("*") if "__pycache__" not in path.parts}
    run("resnet-sweep", "mine", "env.wandb=disabled")
    with open(project / "results" / "mine" / "data" / "runs.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["data"], row["batch"], row["commit"]) == ("short", "32", "unknown")
    assert (project / "runs" / row["run_id"] / "record.json").is_file()
    assert (project / "results" / "mine" / "README.md").is_file()
    assert {path for path in site.rglob("*") if "__pycache__" not in path.parts} - before == set()


AS_A_CELL = """
import asyncio, io, logging, os, signal, sys
import matplotlib, sklearn, torch  # scikit-learn sets variables of its own

def surroundings():
    root, handlers = logging.getLogger(), [signal.getsignal(k) for k in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    threads = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    return dict(matplotlib.rcParams), root.level, list(root.handlers), handlers, threads, dict(os.environ)

async def cell():
    exec(program, {})

program, before, output, sys.stdout = compile(sys.argv[1], "page", "exec"), surroundings(), sys.stdout, io.StringIO()
asyncio.run(cell())
assert surroundings() == before
"""


def test_the_programs_of_the_page_on_notebooks_run_as_in_a_cell_and_leave_the_notebook_as_it_was(site, tmp_path):
    page = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
    programs = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    environment = os.environ | {"PYTHONPATH": str(site)}
    arguments = ["-W", "error", "-c", AS_A_CELL, "\n".join(programs)]
    subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=environment, check=True)
    assert {path.name for path in tmp_path.iterdir()} <= {"runs", "results", "data"}


def test_settings_in_another_folder_are_named_by_hydras_own_flag(run, project, tmp_path):
    (project / "conf").rename(tmp_path / "elsewhere")
    shown = run("resnet-train", "--config-dir", "elsewhere", "task=short", "--cfg", "job")
    assert "batch: 32" in shown
