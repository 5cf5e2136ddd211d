"""One run on two devices: two processes on the CPU, against the same run in one process."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from resnet_repro import train
from resnet_repro.config import ConfigError
from resnet_repro.errors import UserError
from resnet_repro.settings import compose
from resnet_repro.training.launch import launch

RUN = (
    "task=digits", "model.depth=8", "model.width=4", "optim.lr=0.02", "optim.steps=40", "optim.milestones=[30]",
    "probes.curve_every=10", "probes.eval_every=20", "env.wandb=disabled", "env.threads=1", "env.device=cpu",
    "env.channels_last=false", "measure.probes=[gradients]",
)  # fmt: skip
"""In NCHW, where batch norm on a CPU rounds least: 40 steps multiply a difference by hundreds."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """trained("env.devices=2", ...): the folder of the trained run; by: what starts it.

    pytest's processes share the runs: what one trains the others wait for.
    """
    temporary = tmp_path_factory.getbasetemp()
    shared = temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary

    def train(*overrides, by=()):
        runs_dir = shared / "ranks" / "-".join(re.findall(r"\w+", " ".join((*overrides, *by))))
        command = [sys.executable, "-m", *by, "resnet_repro.train", *RUN, *overrides, f"env.runs_dir={runs_dir}"]
        while not list(runs_dir.glob("*/record.json")):
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            assert done.returncode == 0 or "is being trained by another process" in done.stderr, done.stderr
            time.sleep(0.5)
        (record,) = runs_dir.glob("*/record.json")
        return record.parent

    return train


def curve(place: Path, metric: str) -> dict[int, float]:
    rows = [line.split(",") for line in (place / "points.csv").read_text().splitlines()]
    return {int(step): float(value) for step, name, _, _, value in rows[1:] if name == metric}


def looks(place: Path, step: int) -> list[str]:
    """The points of the probe after a step."""
    return [line for line in (place / "points.csv").read_text().splitlines() if re.match(rf"{step},\w+,\d", line)]


def farthest(one: dict[int, float], other: dict[int, float]) -> float:
    assert one.keys() == other.keys()
    return max(abs(one[step] / other[step] - 1) for step in one)


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")


@pytest.mark.parametrize(("norm", "by"), [("model.ghost_batch=null", ()), ("model.ghost_batch=64", TORCHRUN)])
def test_two_ranks_of_64_train_as_one_process_of_128(trained, norm, by):
    one, two = trained("env.devices=1", norm), trained("env.devices=2", norm, by=by)
    assert one.name == two.name
    assert looks(one, step=0) == looks(two, step=0) != []  # one rank looks at the whole network, on a whole batch
    assert len(looks(one, step=40)) == len(looks(two, step=40)) == 3 * 8
    losses = [curve(place, "train_loss") for place in (one, two)]
    # On some processors rounding switches a ReLU after step 20, which is worth 3e-6 at step 40; a share of the batch
    # that is wrong is worth 1e-2 at step 10.
    assert farthest(*({step: loss[step] for step in (10, 20)} for loss in losses)) < 1e-6
    assert farthest(*losses) < 1e-5
    records = [json.loads((place / "record.json").read_text()) for place in (one, two)]
    for metric, value in records[0]["metrics"].items():
        # Rounding may decide for two of the 1,500 or 297 images.
        assert records[1]["metrics"][metric] == pytest.approx(value, rel=2e-6, abs=0.7), metric
    assert records[0]["parameters"] == records[1]["parameters"]
    assert curve(two, "test_error").keys() == {20, 40}


def test_the_two_batch_norms_are_told_apart(trained):
    whole = trained("env.devices=2", "model.ghost_batch=null", by=())
    halves = trained("env.devices=2", "model.ghost_batch=64", by=TORCHRUN)
    assert farthest(curve(whole, "train_loss"), curve(halves, "train_loss")) > 5e-4


@pytest.mark.gpu
def test_two_gpus_train_as_one(trained):
    if torch.cuda.device_count() < 2:
        pytest.skip("there are not two GPUs")
    one, two = (trained(f"env.devices={count}", "env.device=cuda") for count in (1, 2))
    assert farthest(*({10: curve(place, "train_loss")[10]} for place in (one, two))) < 1e-4


def test_a_killed_run_on_two_devices_leaves_no_rank_and_goes_on_to_the_same_bits(trained, tmp_path):
    whole = trained("env.devices=2", "model.ghost_batch=null")
    settings = ("env.devices=2", "env.checkpoint_seconds=0", f"env.runs_dir={tmp_path}")
    command = [sys.executable, "-m", "resnet_repro.train", *RUN, *settings]
    for whom in ("a rank", "the command"):
        before = set(tmp_path.glob("*/checkpoint-*.ckpt"))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not set(tmp_path.glob("*/checkpoint-*.ckpt")) - before:
            assert process.poll() is None
            time.sleep(0.02)
        ranks = ranks_of(process.pid)
        assert len(ranks) == 2
        os.kill(ranks[1] if whom == "a rank" else process.pid, signal.SIGKILL)
        _, said = process.communicate(timeout=120)
        assert whom == "the command" or "RuntimeError: rank " in said
        while any(Path(f"/proc/{rank}").exists() for rank in ranks):
            time.sleep(0.02)
        (place,) = tmp_path.glob("resnet8-*")
        assert not (place / "record.json").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert (place / "points.csv").read_bytes() == (whole / "points.csv").read_bytes()
    assert list(place.glob("checkpoint*")) == []


def ranks_of(process: int) -> list[int]:
    """The ranks that a process has started."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if int(path.read_text().rsplit(")", 1)[1].split()[1]) == process
        and b"multiprocessing.spawn" in (path.parent / "cmdline").read_bytes()
    ]


def test_what_is_the_users_to_mend_in_a_rank_is_told_in_a_line(tmp_path):
    run = compose([*RUN, "env.devices=2", "task=folder", f"env.data_dir={tmp_path}/none", f"env.runs_dir={tmp_path}"])
    with pytest.raises(UserError, match=f"{tmp_path}/none") as caught:
        launch(2, train._train_as_rank, run, [])
    assert "\n" not in str(caught.value)


NODE = "from resnet_repro.jobs.slurm import job; job([__import__('sys').argv[1:]])"


def test_slurms_tasks_on_two_nodes_find_each_other(trained, tmp_path):
    overrides = [*RUN, "env.devices=2", "trainer.num_nodes=2", f"env.runs_dir={tmp_path}"]
    place = tmp_path / trained("env.devices=1", "model.ghost_batch=null").name
    place.mkdir()  # as the launcher does when it notes the job there
    step = {
        "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "resnet_repro", "SLURM_NODELIST": "localhost", "SLURM_LOCALID": "0",
        "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "2", "SLURM_STEP_NUM_NODES": "2", "MASTER_PORT": str(free_port()),
    }  # fmt: skip
    nodes = [
        subprocess.Popen(
            [sys.executable, "-c", NODE, *overrides],
            env=os.environ | step | {"SLURM_NODEID": str(k), "SLURM_PROCID": str(k)},
        )
        for k in range(2)
    ]
    assert [node.wait(timeout=300) for node in nodes] == [0, 0]
    alone = trained("env.devices=1", "model.ghost_batch=null")
    assert farthest(curve(place, "train_loss"), curve(alone, "train_loss")) < 2e-6


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


RANK = """
import sys, torch, torch.distributed as dist
from torch import nn
from resnet_repro.training import parallel

meeting, number = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", f"file://{meeting}", world_size=2, rank=number)
torch.manual_seed(0)
norm = parallel.SyncedBatchNorm2d(3)
x = torch.randn(8, 3, 5, 5, requires_grad=True)
weights = torch.randn(8, 3, 5, 5)
part = slice(4 * number, 4 * (number + 1))
(norm(x[part]) * weights[part]).sum().backward()
torch.save([x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var], f"{meeting}-{number}")
dist.destroy_process_group()
"""


def test_synchronised_batch_norm_has_the_gradients_and_statistics_of_the_whole_batch(tmp_path):
    meeting = tmp_path / "meeting"
    processes = [subprocess.Popen([sys.executable, "-c", RANK, str(meeting), str(k)]) for k in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"meeting-{k}") for k in range(2))

    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    x = torch.randn(8, 3, 5, 5, requires_grad=True)
    (norm(x) * torch.randn(8, 3, 5, 5)).sum().backward()
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(first[0] + second[0], x.grad, **close)
    torch.testing.assert_close(first[1] + second[1], norm.weight.grad, **close)
    torch.testing.assert_close(first[2] + second[2], norm.bias.grad, **close)
    for mine in (first, second):
        torch.testing.assert_close(mine[3], norm.running_mean, **close)
        torch.testing.assert_close(mine[4], norm.running_var, **close)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["env.devices=3"], "must divide optim.batch"),
        (["env.devices=2", "data.last_batch=keep"], "data.last_batch=drop"),
        (["env.devices=4", "model.ghost_batch=64"], "must divide the 32 images of each of the 4 devices"),
    ],
)
def test_a_batch_that_cannot_be_split_evenly_is_refused(overrides, words):
    with pytest.raises(ConfigError, match=words):
        compose(overrides)


@pytest.mark.parametrize("started", ["torchrun", "srun"])
def test_as_many_processes_as_devices_are_asked_for(monkeypatch, started):
    said = {
        "torchrun": {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "1"},
        "srun": {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "1", "SLURM_PROCID": "1"},
    }
    for name, value in said[started].items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        ConfigError, match=f"{started} has started 4 processes on 1 nodes, and env.devices is 2, .*: set env.devices=4"
    ):
        train.follow(compose(["env.devices=2"]))
