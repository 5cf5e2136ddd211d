"""Where a number comes from: the commit and the versions, and nothing of the person and the machine's name."""

import getpass
import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch

from resnet_repro import provenance

ROOT = Path(__file__).resolve().parent.parent


def git(folder, *arguments):
    # A git hook that runs the tests sets GIT_DIR and others.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout of its own with one commit, which provenance takes for the project's."""
    for name in ("resnet_repro", "conf", "experiments"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("1")
    (tmp_path / "resnet_repro" / "provenance.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    provenance.commit.cache_clear()
    yield tmp_path
    provenance.commit.cache_clear()


def test_the_commit_is_that_of_the_checkout():
    head = git(ROOT, "rev-parse", "HEAD")
    commit, _, dirty = provenance.commit().partition("-")
    assert head.startswith(commit)
    assert len(commit) == 12
    assert dirty in ("", "dirty")


@pytest.mark.parametrize("name", ["conf/file", "resnet_repro/new.py"])
def test_changed_and_new_files_of_the_code_make_the_commit_dirty_and_others_do_not(checkout, name):
    head = git(checkout, "rev-parse", "--short=12", "HEAD")
    (checkout / "experiments" / "mine.yaml").write_text("untracked")
    (checkout / "notes").write_text("untracked")
    assert provenance.commit() == head
    provenance.commit.cache_clear()
    (checkout / name).write_text("2")
    assert provenance.commit() == f"{head}-dirty"


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_a_changed_file_that_git_was_told_not_to_look_at_makes_the_commit_dirty(checkout, flag):
    git(checkout, "update-index", flag, "conf/file")
    assert not provenance.commit().endswith("-dirty")
    provenance.commit.cache_clear()
    (checkout / "conf" / "file").write_text("2")
    assert git(checkout, "status", "--porcelain") == ""
    assert provenance.commit().endswith("-dirty")


def test_a_changed_experiment_makes_the_commit_dirty(checkout):
    (checkout / "experiments" / "file").write_text("2")
    assert provenance.commit().endswith("-dirty")


@pytest.mark.parametrize("below", [".", "vendor"])
def test_the_commit_of_another_repository_that_the_source_lies_in_is_not_taken(below, tmp_path, monkeypatch, checkout):
    outer = tmp_path / "outer"
    source = outer / below
    (source / "resnet_repro").mkdir(parents=True)
    (outer / "thesis.tex").write_text("")
    git(outer, "init", "-q")
    git(outer, "add", ".")
    git(outer, "commit", "-q", "-m", "another project")
    (source / "resnet_repro" / "provenance.py").write_text("")
    monkeypatch.setattr(provenance, "ROOT", source)
    assert provenance.commit() == "unknown"


def test_a_repository_that_the_environment_names_for_git_is_not_taken(tmp_path, monkeypatch, checkout):
    head = provenance.commit()
    git(tmp_path, "init", "-q", "--bare", "elsewhere.git")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere.git"))
    provenance.commit.cache_clear()
    assert provenance.commit() == head


def test_outside_of_git_the_commit_is_unknown(tmp_path, monkeypatch, checkout):
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "nowhere")
    assert provenance.commit() == "unknown"


def test_versions_are_those_that_are_installed():
    described = provenance.describe("cpu")
    assert described["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert described["numpy"] == numpy.__version__
    assert described["python"] == platform.python_version()


def test_a_cpu_has_a_name():
    assert len(provenance.device_name("cpu")) > 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_has_a_name():
    assert provenance.device_name("cuda") == torch.cuda.get_device_name()


def test_nothing_of_the_environment_the_user_or_the_host_is_in_it():
    secret = {name: f"s3cret-{name}" for name in os.environ if name not in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")}
    secret |= {name: f"s3cret-{name}" for name in ("WANDB_API_KEY", "USER", "LOGNAME", "HOSTNAME", "SSH_CLIENT")}
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ}
    code = "import json; from resnet_repro import provenance; print(json.dumps(provenance.describe('cpu')))"
    printed = subprocess.run(
        [sys.executable, "-c", code], env={**secret, **kept}, check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    described = json.loads(printed)
    packages = {"resnet-repro", "torch", "torchvision", "pytorch-lightning", "numpy"}
    assert set(described) == {"commit", "python", "device"} | packages
    assert "s3cret" not in printed
    assert {getpass.getuser(), socket.gethostname(), socket.getfqdn()}.isdisjoint(described.values())
    assert str(Path.home()) not in printed
