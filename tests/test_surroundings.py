"""Whatever surrounds a command - variables, folders, links, the user - it works, or says one line."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_repro import records
from resnet_repro.jobs import drive

TINY = ("task=digits", "model.depth=8", "model.width=4", "optim.milestones=[2]", "optim.steps=4", "model=plain")
QUIET = ("probes.curve_every=4", "probes.eval_every=4", "env.wandb=disabled")


def run(module, *arguments, cwd=None, user=None, **variables):
    environment = {k: v for k, v in {**os.environ, **variables}.items() if v is not None}
    command = [sys.executable, "-m", f"resnet_repro.{module}", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, user=user, capture_output=True, text=True, timeout=300, check=False
    )


def only_line(done):
    """What a command that has failed says: one line, and never a traceback."""
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def trained(folder):
    """The finished runs anywhere below a folder."""
    return [path.parent for path in Path(folder).rglob("record.json")]


# Paths ---------------------------------------------------------------------------------------------------------


def test_a_sweep_below_the_home_named_after_the_time_whose_jobs_change_their_folder_trains_each_run_once(tmp_path):
    place, home = 'env.runs_dir="~/${now:%H-%M-%S-%f}"', tmp_path / "home"
    done = run("train", "-m", *TINY, *QUIET, "seed=0,1", place, "hydra.job.chdir=true", cwd=tmp_path, HOME=str(home))
    assert done.returncode == 0, done.stderr
    places = trained(tmp_path)
    assert len(places) == 2
    assert len({place.parent for place in places}) == 1
    assert {place.parents[1] for place in places} == {home}
    assert not (tmp_path / "~").exists()


def test_a_job_that_ends_well_and_leaves_nothing_stops_the_sweep_with_a_sentence(tmp_path, capsys):
    from hydra.core.utils import JobReturn, JobStatus

    from resnet_repro import planning

    class Elsewhere:
        def launch(self, job_overrides, initial_job_idx):
            return [JobReturn(overrides=o, status=JobStatus.COMPLETED) for o in job_overrides]

    planned = planning.expand([[[*TINY, *QUIET, f"env.runs_dir={tmp_path}"]]])
    with pytest.raises(drive.RunsCrashed):
        drive.train_missing(planned, Elsewhere())
    assert "left neither a record nor a lock" in capsys.readouterr().out


def test_a_link_that_leads_nowhere_is_said(tmp_path):
    (tmp_path / "runs").symlink_to(tmp_path / "unmounted" / "disk")
    done = run("train", *TINY, *QUIET, f"env.runs_dir={tmp_path}/runs")
    assert re.match(rf"error: {tmp_path}/runs.*link that leads nowhere", only_line(done))


# The environment of the user -----------------------------------------------------------------------------------

SURROUNDINGS = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYTHONWARNINGS": "error",
    **{"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "salloc", "SLURM_NODELIST": "x"},
    **{"WORLD_SIZE": "4", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "nowhere"},
    **{"OMP_NUM_THREADS": "many", "TERM": "dumb", "COLUMNS": "1", "PYTHONIOENCODING": "ascii"},
}
"""Of a notebook, strict warnings, an allocation, a launcher of ranks, threads and terminals."""


def test_what_the_environment_holds_for_other_programs_does_not_decide_whether_a_run_is_trained(tmp_path):
    done = run("train", *TINY, *QUIET, f"env.runs_dir={tmp_path}", **SURROUNDINGS)
    assert done.returncode == 0, done.stderr
    assert [records.read(place)["steps_done"] for place in trained(tmp_path)] == [4]


def test_a_plan_that_nobody_reads_to_its_end_ends_quietly():
    command = f"{sys.executable} -m resnet_repro.sweep degradation-digits --plan --all | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


# make ------------------------------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def checkout(tmp_path):
    """What make needs of a checkout, in a folder with a space in its name."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    (folder / ".ci").mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml", ".ci/uv"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def made(checkout, *words, **variables):
    """make, as it is called from a shell and not from the make that runs these tests."""
    outside = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(
        ["make", *words], cwd=checkout, env={**outside, **variables}, capture_output=True, text=True, check=False
    )


def test_a_python_that_does_not_fit_is_refused_and_leaves_no_environment(checkout, tmp_path):
    (tmp_path / "python3.10").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3.10").chmod(0o755)
    done = made(checkout, "setup", f"PY={tmp_path}/python3.10")
    assert done.returncode != 0
    assert f"error: PY={tmp_path}/python3.10 is no Python 3.11, 3.12 or 3.13" in done.stdout
    assert not (checkout / ".venv").exists()


def test_make_takes_no_setting_of_pip_for_a_users_folder_and_hands_its_indexes_to_uv(checkout):
    variables = {"PIP_USER": "1", "PIP_INDEX_URL": "https://index.example/simple", "PIP_TARGET": "/elsewhere"}
    with open(checkout / "Makefile", "a", encoding="utf-8") as file:
        file.write("said:\n\t@$(UV) pip sync\n")
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho $PIP_USER $UV_DEFAULT_INDEX ${PIP_TARGET-none} ${UV_INDEX-none} $*\n")
    python.chmod(0o755)
    without = dict.fromkeys(("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "PIP_EXTRA_INDEX_URL"), "")
    said = made(checkout, "said", **variables, **without).stdout
    assert said == "0 https://index.example/simple none none -m uv pip sync\n"


# The user ------------------------------------------------------------------------------------------------------

NOBODY = 12345


def test_a_home_folder_that_nobody_has_is_said(tmp_path):
    said = only_line(run("train", *TINY, *QUIET, "env.runs_dir='~no-such-user/x'", cwd=tmp_path))
    assert said.startswith("error: env.runs_dir is '~no-such-user/x'")


as_nobody = pytest.mark.skipif(os.getuid() != 0, reason="becomes a user without an entry in passwd")


@as_nobody
def test_a_user_without_a_passwd_entry_plans_and_is_told_what_is_not_writable(tmp_path):
    try:
        readable = run("sweep", "tiny", "--plan", user=NOBODY, HOME=None)
    except PermissionError:
        pytest.skip("this Python is not for others to run")
    assert readable.returncode == 0, readable.stderr
    tmp_path.chmod(0o755)
    done = run("train", *TINY, *QUIET, f"env.runs_dir={tmp_path}/runs", user=NOBODY, HOME=None)
    assert re.match(rf"error: {tmp_path}/runs.*Permission denied", only_line(done))
    done = run("train", *TINY, *QUIET, "env.runs_dir='~/runs'", user=NOBODY, HOME=None)
    assert "no home folder" in only_line(done)
