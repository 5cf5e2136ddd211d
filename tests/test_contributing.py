"""The worked examples of CONTRIBUTING.md: each applies to this tree as it is, and does what it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Worked examples")[1]


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.M | re.S)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the tree to which all examples were applied, one after the other."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("resnet_repro", "hydra_plugins", "conf", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    apply = ["git", "apply", "--whitespace=error", "-"]
    for diff in blocks("diff"):
        subprocess.run(apply, cwd=folder, input=diff, text=True, check=True)
    return folder


def test_the_programs_below_the_examples_run_in_the_changed_tree(tree):
    titles = re.findall(r"^### (.*)$", TEXT, re.M)
    assert len(blocks("diff")) == len(blocks("python")) == len(titles) > 0
    program = "\n".join(blocks("python"))
    environment = os.environ | {"PYTHONPATH": str(tree)}
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=tree, env=environment, check=True)


def test_the_examples_are_written_as_the_code_is(tree):
    shutil.copy(ROOT / "pyproject.toml", tree)
    subprocess.run([sys.executable, "-m", "ruff", "check", "-q", "."], cwd=tree, check=True)
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", "--check", "."], cwd=tree, check=True)
