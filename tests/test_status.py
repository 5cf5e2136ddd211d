"""What `status` says, of run folders in every state and without a Slurm that answers."""

import subprocess
import sys
from pathlib import Path

import pytest

from resnet_repro import experiment, planning, records, status

OTHERS = dict.fromkeys(("diverged", "stuck", "failed"), False)


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    planned = planning.plan(experiment.load("tiny"), [f"env.runs_dir={tmp_path}"])
    return [records.folder(plan.run, plan.id) for plan in planned]


def shown(runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, str], list[list[str]]]:
    """The counts of tiny by state, and the words of the lines about unfinished runs."""
    status.show(["tiny"], [f"env.runs_dir={runs_dir}"])
    summary, _, details = capsys.readouterr().out.partition("\n\n")
    titles, counts = (line.split() for line in summary.splitlines())
    return dict(zip(titles, counts, strict=True)), [line.split() for line in details.splitlines()[1:]]


def finish(place: Path, state: str) -> None:
    records.write_points(place, [(40, "train_loss", None, None, 1.0)])
    records.write(place, {"status": state, "status_flags": OTHERS | {state: True}})


def test_each_state_is_counted(places: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    finish(places[0], "finished")
    finish(places[1], "diverged")
    places[2].mkdir()
    (places[2] / "checkpoint-00000020-0123456789abcdef.ckpt").touch()
    places[3].mkdir()
    (places[3] / "log.txt").write_text("Traceback")
    with records.lock(places[4]):
        records.write_points(places[4], [(20, "lr", None, None, 0.1), (30, "lr", None, None, 0.1)])
        counts, lines = shown(tmp_path, capsys)
    assert counts["runs"] == "8"
    assert counts["finished"] == "2"  # of which one diverged
    ones = {"diverged", "interrupted", "crashed", "running"}
    assert {k: v for k, v in counts.items() if v == "1"}.keys() == ones
    assert counts["missing"] == "3"
    assert [places[2].name, "interrupted", "0/40"] in lines
    assert [places[3].name, "crashed", "0/40"] in lines
    assert [places[4].name, "running", "30/40"] in lines
    assert len(lines) == 3


def test_a_run_with_a_job_is_shown_though_slurm_does_not_know_it(
    places: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))  # no squeue there
    records.write_json(places[0] / "slurm.json", {"job": "12_3", "log": "nowhere"})
    _, lines = shown(tmp_path, capsys)
    assert lines == [[places[0].name, "missing", "0/40", "12_3", "no", "longer", "known", "to", "Slurm"]]


def test_a_slurm_that_does_not_answer_is_said_so(
    places: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    broken = tmp_path / "bin" / "squeue"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:/bin:/usr/bin")
    records.write_json(places[0] / "slurm.json", {"job": "12_3", "log": "nowhere"})
    _, lines = shown(tmp_path, capsys)
    assert lines == [[places[0].name, "missing", "0/40", "12_3", "no", "answer"]]


def test_status_imports_neither_torch_nor_pandas():
    code = "import sys, resnet_repro.status; print([m for m in ('torch', 'pandas', 'wandb') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_an_unknown_experiment_is_refused_with_the_names_there_are():
    answer = subprocess.run(
        [sys.executable, "-m", "resnet_repro.status", "tyni"], check=False, capture_output=True, text=True
    )
    assert answer.returncode == 1
    assert "there are" in answer.stderr
    assert "tiny" in answer.stderr
