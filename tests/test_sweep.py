"""Whole sweeps, from the command line: through several launchers, with runs and sweeps that are killed."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from resnet_repro import experiment, records

TINY = ("task=digits", "model.depth=8", "model.width=4", "optim.milestones=[20]", "optim.steps=40")
FOUR = (*TINY, "model=plain,resnet", "seed=0,1", "probes.curve_every=4", "probes.eval_every=20")
QUIET = ("env.wandb=disabled", "env.checkpoint_seconds=0")
LONG = "optim.steps=20000"  # minutes, so that a process that should end does not do so by itself


def command(runs_dir, *overrides):
    return [sys.executable, "-m", "resnet_repro.train", "-m", *QUIET, f"env.runs_dir={runs_dir}", *overrides]


def start(arguments):
    # A session of its own, as a shell would give it, so that Ctrl-C can be sent to all of it.
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    return subprocess.Popen(arguments, **pipes)


def end(process):
    """What it printed, and its exit code."""
    output, _ = process.communicate(timeout=300)
    return output, process.returncode


def sweep(runs_dir, *overrides):
    return end(start(command(runs_dir, *overrides)))


def places(runs_dir):
    return sorted(path for path in Path(runs_dir).glob("*-s*") if path.is_dir())


def measured(runs_dir):
    """The records of a folder without their circumstances, and the curves, by run."""
    found = {}
    for place in places(runs_dir):
        record = records.read(place)
        for circumstance in ("provenance", "overrides", "command", "sha256"):
            del record[circumstance]
        found[place.name] = (record, (place / "points.csv").read_bytes())
    return found


def finished(runs_dir):
    """The names of the finished runs."""
    return [place.name for place in places(runs_dir) if (place / "record.json").exists()]


def trainers(runs_dir):
    """The processes that trained, by run: one line of its log for each."""
    logs = {place.name: (place / "log.txt").read_text() for place in places(runs_dir) if (place / "log.txt").exists()}
    return {name: [int(pid) for pid in re.findall(r"^--- .* pid (\d+)$", log, re.M)] for name, log in logs.items()}


def alive(pids):
    """Those of the processes that still run."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        found += [pid] if state not in "ZX" else []
    return found


def wait_until(condition, process):
    """Waits for the condition while the process runs; returns whether it came true."""
    deadline = time.monotonic() + 300
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def steps_done(runs_dir):
    return sum(records.last_step(place) for place in places(runs_dir))


def all_end(pids):
    deadline = time.monotonic() + 30
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pids)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a sweep of four runs through the local launcher, and what it printed."""
    runs_dir = tmp_path_factory.mktemp("undisturbed")
    output, code = sweep(runs_dir, *FOUR)
    assert code == 0, output
    return runs_dir, output


# Launchers -----------------------------------------------------------------------------------------------------


def test_a_sweep_trains_every_run_of_the_product_once(undisturbed):
    runs_dir, output = undisturbed
    assert output.startswith("4 runs: 0 finished already, 4 to train\n")
    assert "4/4 runs done" in output
    assert [name.rsplit("-", 1)[0] for name in measured(runs_dir)] == [
        "plain8-s0", "plain8-s1", "resnet8-s0", "resnet8-s1"
    ]  # fmt: skip
    assert all(len(pids) == 1 for pids in trainers(runs_dir).values())


def test_packs_train_several_runs_in_one_process_to_the_same_bits(undisturbed, tmp_path):
    output, code = sweep(tmp_path, *FOUR, "hydra.launcher.pack=3", "hydra.launcher.slots=1")
    assert code == 0, output
    assert measured(tmp_path) == measured(undisturbed[0])
    pids = [pid for run in trainers(tmp_path).values() for pid in run]
    assert len(pids) == 4
    assert len(set(pids)) == 2  # two packs of two


def test_a_pack_that_is_killed_fails_its_runs_and_no_other_and_the_next_sweep_ends_them(undisturbed, tmp_path):
    process = start(command(tmp_path, *FOUR, "hydra.launcher.pack=2", "hydra.launcher.slots=1"))
    assert wait_until(lambda: len(trainers(tmp_path)) == 2 and steps_done(tmp_path) >= 16, process)
    (victim,) = {pid for run in trainers(tmp_path).values() for pid in run}
    os.kill(victim, signal.SIGKILL)
    output, code = end(process)
    assert code == 1
    assert "2 runs crashed" in output
    assert output.count("the process was killed by SIGKILL") == 2
    assert len(finished(tmp_path)) == 2
    assert sweep(tmp_path, *FOUR)[1] == 0
    assert measured(tmp_path) == measured(undisturbed[0])


def test_a_repeated_sweep_finds_all_finished_and_touches_nothing(undisturbed):
    runs_dir, _ = undisturbed
    before = {path: path.stat().st_mtime_ns for path in runs_dir.rglob("*") if path.is_file()}
    output, code = sweep(runs_dir, *FOUR)
    assert code == 0
    assert output.startswith("4 runs: 4 finished already, 0 to train\n\nrun ")
    shown = output.split("ended\n")[1].splitlines()
    assert [line.split()[0] for line in shown[:4]] == list(measured(runs_dir))
    assert shown[4] == f"look at  {runs_dir}/<run>/record.json and points.csv"
    assert {path: path.stat().st_mtime_ns for path in runs_dir.rglob("*") if path.is_file()} == before


def test_another_launcher_makes_the_same_records(tmp_path, undisturbed):
    output, code = sweep(tmp_path, *FOUR, "hydra/launcher=joblib")
    assert code == 0, output
    assert measured(tmp_path) == measured(undisturbed[0])


def test_a_sweep_of_an_experiment_collects_and_reports(tmp_path):
    arguments = ["tiny", "seed=0", "model.depth=8", f"env.runs_dir={tmp_path}/runs", "env.wandb=disabled"]
    arguments = [sys.executable, "-m", "resnet_repro.sweep", *arguments, "--results", f"{tmp_path}/results"]
    output, code = end(start(arguments))
    assert code == 0, output
    assert "2 runs: 0 finished already, 2 to train" in output
    assert "2 runs collected" in output
    assert "6 of its runs are missing" in output
    assert "1/1 run done" not in output  # a job prints into its run's folder
    assert all((place / "log.txt").exists() for place in places(tmp_path / "runs"))
    files = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()}
    assert {"README.md", "runs.csv", "curves.png"} <= {path.name for path in files}
    spec = experiment.load("tiny")
    (claim,) = spec.claims
    rows = pd.read_csv(tmp_path / "results" / "tiny" / "data" / "runs.csv", dtype=str).set_index("model")
    told = {"plain": None, "resnet": experiment.digest(claim, [[0, 1]])}  # the claim is on the ResNets of two seeds
    assert rows["claims"].replace({float("nan"): None}).to_dict() == told
    assert set(rows["train_images"]) == {"1500"}
    place = tmp_path / "runs" / rows.loc["resnet", "run_id"]
    assert json.loads((place / "run.json").read_text())["claims"] == [told["resnet"]]
    output, code = end(start(arguments))
    assert "2 runs: 2 finished already, 0 to train" in output
    assert {path: path.read_bytes() for path in files} == files


# Failures ------------------------------------------------------------------------------------------------------


def test_a_run_that_fails_takes_no_other_with_it_and_is_listed(tmp_path):
    folder = tmp_path / "images"
    settings = [f"env.data_dir={folder}", "optim.batch=2", "optim.steps=4", "model=plain"]
    grid = [*TINY, "task=digits,folder", *settings]
    output, code = sweep(tmp_path / "runs", *grid)
    assert code == 1
    failed, good = sorted(places(tmp_path / "runs"), key=lambda place: (place / "record.json").exists())
    assert records.read(good)["status"]
    assert f"{failed.name}: no image folder in {folder}" in output
    assert f"the end of {failed}/log.txt:" in output
    assert "in listing" in output  # from its traceback
    (again,) = re.findall(r"repeat it alone: python -m (resnet_repro\.train .*task=folder.*)", output)
    assert f"env.runs_dir={tmp_path}/runs" in again
    assert f"{good.name}:" not in output  # it is among the runs that ended, and not among those that crashed

    for part in ("train", "test"):
        for k, name in enumerate(("cat", "dog")):
            (folder / part / name).mkdir(parents=True)
            for i in range(2):
                pixels = np.random.default_rng([k, i]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{i}.png")
    output, code = sweep(tmp_path / "runs", *grid)
    assert code == 0, output
    assert output.startswith("2 runs: 1 finished already, 1 to train\n")
    assert records.read(failed)["status"]


def test_a_run_that_is_killed_takes_no_other_with_it_and_goes_on_when_repeated(tmp_path, undisturbed):
    process = start(command(tmp_path, *FOUR, "hydra.launcher.slots=1"))
    assert wait_until(lambda: steps_done(tmp_path) > 0, process)
    ((name, (pid,)),) = trainers(tmp_path).items()
    os.kill(pid, signal.SIGKILL)
    output, code = end(process)
    assert code == 1
    assert f"{name}: the process was killed by SIGKILL" in output
    assert "1 run crashed" in output
    assert len(list(tmp_path.glob("*/record.json"))) == 3
    output, code = sweep(tmp_path, *FOUR)
    assert code == 0, output
    assert output.startswith("4 runs: 3 finished already, 1 to train\n")
    assert measured(tmp_path) == measured(undisturbed[0])


def test_a_sweep_killed_again_and_again_ends_with_the_same_records(tmp_path, undisturbed):
    dice = random.Random()
    for _ in range(3):
        goal = steps_done(tmp_path) + dice.randrange(4, 32)
        process = start(command(tmp_path, *FOUR))
        assert wait_until(lambda goal=goal: steps_done(tmp_path) >= goal, process)
        process.kill()
        end(process)
        assert all_end(pid for pids in trainers(tmp_path).values() for pid in pids)
    output, code = sweep(tmp_path, *FOUR)
    assert code == 0, output
    assert measured(tmp_path) == measured(undisturbed[0])


def test_ctrl_c_ends_a_sweep_with_a_sentence_and_leaves_no_process(tmp_path):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    arguments = ["tiny", f"env.runs_dir={tmp_path}/runs", *QUIET, LONG, "--results", f"{tmp_path}/results"]
    process = start([sys.executable, "-m", "resnet_repro.sweep", *arguments])
    assert wait_until(lambda: steps_done(tmp_path / "runs") > 0, process)
    os.killpg(process.pid, signal.SIGINT)
    output, code = end(process)
    assert code == 130
    assert output.endswith("\nStopped. The same command goes on from here.\n")
    assert "Traceback" not in output
    assert all_end(pid for pids in trainers(tmp_path / "runs").values() for pid in pids)
    assert not (tmp_path / "results").exists()


def test_two_sweeps_at_once_share_the_runs(tmp_path, undisturbed):
    two = [start(command(tmp_path, *FOUR, "hydra.launcher.slots=1")) for _ in range(2)]
    for process in two:
        output, code = end(process)
        assert code == 0, output
    assert measured(tmp_path) == measured(undisturbed[0])
    assert [len(pids) for pids in trainers(tmp_path).values()] == [1, 1, 1, 1]


def test_of_two_sweeps_at_once_one_is_killed_and_the_other_takes_its_packs_over(tmp_path, undisturbed):
    packs = [*FOUR, "hydra.launcher.pack=2", "hydra.launcher.slots=1"]
    dying, living = (start(command(tmp_path, *packs)) for _ in range(2))
    assert wait_until(lambda: steps_done(tmp_path) >= 8, dying)
    dying.kill()
    end(dying)
    output, code = end(living)
    assert code == 0, output
    assert measured(tmp_path) == measured(undisturbed[0])


# The processes of the local launcher ---------------------------------------------------------------------------


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def threads(pid):
    """CPU ticks of each thread, the busiest first."""
    stats = [(task / "stat").read_text().rsplit(")", 1)[1].split() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sorted((int(stat[11]) for stat in stats), reverse=True)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_fork_server_starts_runs_of_one_thread_and_all_die_with_the_sweep(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    process = start(command(tmp_path, *FOUR, LONG, "hydra.launcher.slots=2"))
    assert wait_until(lambda: steps_done(tmp_path) > 150, process)
    (server,) = [pid for pid in children(process.pid) if children(pid)]
    runs = [pid for pids in trainers(tmp_path).values() for pid in pids]
    assert sorted(children(server)) == sorted(runs)
    assert len(runs) == 2
    assert len(threads(server)) == 1
    for busiest, *others in map(threads, runs):
        assert busiest > 20
        assert sum(others) <= 1
    process.kill()
    end(process)
    assert all_end([server, *runs])


# The command line ----------------------------------------------------------------------------------------------


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.depth=21"], "error: model.depth must be 6n + 2"),
        (["model.dept=20"], "error: unknown setting 'model.dept'; did you mean 'model.depth'?"),
        (["seed=0,1"], "error: 'seed=0,1' names several values: add -m"),
        (["-m", "model.depth=20,21"], "error: model.depth must be 6n + 2"),
        (["-m", "hydra.sweeper.experiment=nope"], "error: no experiment 'nope'; there are"),
        (["-m", "hydra.launcher.pack=0"], "error: hydra.launcher.pack must be at least 1 or null, got 0"),
        (["-m", "hydra.launcher.slots=0"], "error: hydra.launcher.slots must be at least 1 or null, got 0"),
        (["-m", "hydra.launcher.pack=2", "env.devices=2"], "error: hydra.launcher.pack=2 needs env.devices=1, got 2"),
    ],
)
def test_a_bad_override_is_refused_before_torch_is_imported(arguments, message, tmp_path):
    script = (
        "import sys; from resnet_repro.train import cli\n"
        "try: cli()\n"
        "finally: print('torch' in sys.modules)"
    )  # fmt: skip
    result = run("-c", script, *arguments, f"env.runs_dir={tmp_path}/runs")
    assert result.returncode == 1
    assert result.stdout == "False\n"
    assert result.stderr.startswith(message)
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()


def test_what_the_user_can_mend_is_said_in_one_line(tmp_path):
    arguments = ["task=folder", f"env.data_dir={tmp_path}/none", f"env.runs_dir={tmp_path}/runs", "env.wandb=disabled"]
    result = run("-m", "resnet_repro.train", *arguments)
    assert result.returncode == 1
    assert re.fullmatch(rf"error: no image folder in {tmp_path}/none.*\n", result.stderr)


def test_help_and_the_composed_config_say_what_each_setting_means(tmp_path):
    assert re.search(r"weighted layers, 6n \+ 2;", run("-m", "resnet_repro.train", "--help").stdout)
    config = run("-m", "resnet_repro.train", "--cfg", "job", "model=plain", "model.depth=56").stdout
    assert re.search(r"^  depth: 56 +# weighted layers, 6n \+ 2;.*\n  residual: false ", config, re.M)
    assert "sweeper" in run("-m", "resnet_repro.train", "--cfg", "hydra").stdout


def test_an_experiment_that_is_not_there_is_named(tmp_path):
    result = run("-m", "resnet_repro.sweep", "nope")
    assert result.returncode == 1
    assert result.stderr.startswith("error: no experiment 'nope'; there are")


def test_what_hydra_refuses_is_not_reported_on(tmp_path):
    arguments = ["tiny", "--launcher", "nope", f"env.runs_dir={tmp_path}", "--results", f"{tmp_path}/results"]
    result = run("-m", "resnet_repro.sweep", *arguments)
    assert result.returncode == 1
    assert "hydra/launcher=nope: there is no 'nope'" in result.stderr
    assert not (tmp_path / "results").exists()


def completed(line, folder):
    """What bash offers for the line, with a console script of the name resnet-train on its path."""
    script = folder / "resnet-train"
    script.write_text(f"#!{sys.executable}\nfrom resnet_repro.train import cli\ncli()\n")
    script.chmod(0o755)
    ask = (
        'eval "$(resnet-train -sc install=bash)"; COMP_LINE=$1; COMP_POINT=${#1}; COMP_CWORD=1;'
        "hydra_bash_completion; printf '%s\\n' ${COMPREPLY[@]}"
    )
    path = f"{folder}:{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-c", ask, "bash", line], capture_output=True, text=True, env={**os.environ, "PATH": path}, check=True
    )
    return result.stdout.split()


def test_bash_completes_groups_keys_and_launchers(tmp_path):
    assert completed("resnet-train model=", tmp_path) == ["model=densenet", "model=plain", "model=resnet"]
    assert "optim.weight_decay=" in completed("resnet-train optim.", tmp_path)
    assert "hydra/launcher=local" in completed("resnet-train hydra/launcher=", tmp_path)


def test_a_run_that_was_finished_before_says_so_and_since_when(undisturbed):
    (place,) = [place for place in places(undisturbed[0]) if place.name.startswith("plain8-s0")]
    os.utime(place / "record.json", (946684800, 946684800))  # in 2000, wherever this is
    settings = ["model=plain", "seed=0", "probes.curve_every=4", "probes.eval_every=20"]
    shown = run("-m", "resnet_repro.train", *TINY, *QUIET, *settings, f"env.runs_dir={undisturbed[0]}").stdout
    record = records.read(place)
    assert re.search(rf"^{place.name}: finished.*\n  it was before, on (1999-12-31|2000-01-01) at ..:..$", shown, re.M)
    assert re.search(rf"^  test error, % +{record['metrics']['test_error']:.3f}$", shown, re.M)
    assert f"look at  {place}/: record.json, points.csv" in shown
