"""What the sweep makes of Slurm's answers, with a squeue that says what a test has it say. For the real one: slurm/."""

import pickle
from pathlib import Path

import pytest

from resnet_repro import planning, records
from resnet_repro.jobs import slurm


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A squeue that prints this file."""
    answer = tmp_path / "answer"
    program = tmp_path / "bin" / "squeue"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec cat {answer}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.0)
    return answer


@pytest.fixture
def plan(tmp_path: Path) -> planning.Planned:
    (planned,) = planning.expand([[["task=digits", f"env.runs_dir={tmp_path}"]]])
    slurm.remember(planned.overrides, "7_0", tmp_path / "slurm" / "7_0_0_log.err")
    return planned


def test_states_are_what_squeue_says(squeue: Path):
    squeue.write_text("7_0|RUNNING|None\n7_1|PENDING|Resources\n8|COMPLETED|None\n")
    said = slurm.states(["7_0", "7_1", "8", "9_0"])
    assert said == {"7_0": "RUNNING", "7_1": "PENDING (Resources)", "8": "COMPLETED", "9_0": slurm.GONE}
    assert [slurm.ended(said[job]) for job in ("7_0", "7_1", "8", "9_0")] == [False, False, True, True]


@pytest.mark.parametrize(
    "state", ["RUNNING|None", "PENDING|BeginTime", "COMPLETING|None", "REQUEUED|None", "SUSPENDED|None"]
)
def test_a_run_whose_job_may_still_run_is_left_alone(squeue: Path, plan: planning.Planned, state: str):
    squeue.write_text(f"7_0|{state}\n")
    jobs = slurm.Jobs()
    assert jobs.look([plan]) == {}
    assert jobs.active == {plan.id}


def test_while_slurm_does_not_answer_no_job_is_taken_for_lost(squeue: Path, plan: planning.Planned):
    jobs = slurm.Jobs()
    assert jobs.look([plan]) == {}  # the file is not there: cat fails
    assert jobs.active == {plan.id}


@pytest.mark.parametrize("state", ["FAILED|NonZeroExitCode", "NODE_FAIL|None", "PREEMPTED|None", "TIMEOUT|TimeLimit"])
def test_a_run_that_got_further_is_launched_again_each_time(squeue: Path, plan: planning.Planned, state: str):
    jobs, place = slurm.Jobs(), records.folder(plan.run, plan.id)
    for step in range(1, 9):
        jobs.active.add(plan.id)
        (place / f"checkpoint-{step:08d}-0.ckpt").touch()
        squeue.write_text(f"7_0|{state}\n")
        assert jobs.look([plan]) == {}
        assert jobs.active == set()


def test_a_run_that_gets_no_further_is_given_up(squeue: Path, plan: planning.Planned):
    jobs = slurm.Jobs()
    squeue.write_text("7_0|NODE_FAIL|None\n")
    answers = []
    for _ in range(slurm.TRIES):
        jobs.active.add(plan.id)
        answers.append(jobs.look([plan]))
    assert answers[:-1] == [{}] * (slurm.TRIES - 1)
    assert "tried 4 times" in answers[-1][plan.id]


@pytest.mark.parametrize(("state", "remedy"), [("CANCELLED", "scancel"), ("OUT_OF_MEMORY", "hydra.launcher.mem_gb")])
def test_what_another_job_would_not_change_is_reported_at_once(
    squeue: Path, plan: planning.Planned, state: str, remedy: str
):
    jobs = slurm.Jobs({plan.id})
    squeue.write_text(f"7_0|{state}|None\n")
    assert remedy in jobs.look([plan])[plan.id]


def test_a_job_that_left_the_queue_before_it_began_was_cancelled(squeue: Path, plan: planning.Planned):
    squeue.write_text("")
    assert "scancel" in slurm.Jobs({plan.id}).look([plan])[plan.id]


def test_a_job_that_had_begun_and_is_gone_is_lost(squeue: Path, plan: planning.Planned, tmp_path: Path):
    squeue.write_text("")
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "7_0_0_log.err").touch()
    assert slurm.Jobs({plan.id}).look([plan]) == {}


def test_an_exception_of_the_job_is_the_reason(squeue: Path, plan: planning.Planned, tmp_path: Path):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "7_0_0_result.pkl").write_bytes(
        pickle.dumps(("error", "Traceback ...\nValueError: no such\n"))
    )
    jobs = slurm.Jobs({plan.id})
    squeue.write_text("7_0|FAILED|NonZeroExitCode\n")
    assert jobs.look([plan])[plan.id].startswith("ValueError: no such")


def test_a_job_that_was_there_before_the_sweep_is_no_failure_of_it(squeue: Path, plan: planning.Planned):
    squeue.write_text("7_0|CANCELLED|None\n")
    jobs = slurm.Jobs()
    assert jobs.look([plan]) == {}
    assert jobs.active == set()
