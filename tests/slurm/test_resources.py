"""What a job is given: a GPU of its own, set-up commands, a data folder that others open at the same time."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.loopback_slurm import Loopback, records_of
from tests.slurm.conftest import SWEEP, Start

pytestmark = pytest.mark.slurm

TRAIN = ("resnet_repro.train", "-m", "hydra/launcher=slurm", *SWEEP)


def test_each_job_has_one_gpu_of_its_own(cluster: Loopback, start: Start, tmp_path: Path):
    if not cluster.gpus:
        pytest.skip("only root can make fake GPUs (mknod)")
    times = 'echo "GPU $CUDA_VISIBLE_DEVICES from $(date +%s.%N)"'
    code, output = start(*TRAIN, "seed=0,1,2", "optim.steps=40", f"hydra.launcher.setup=['{times}']").end()
    assert code == 0, output
    given = {}
    for log in tmp_path.glob("runs/slurm/*_0_log.out"):
        gpu, begin = re.search(r"^GPU (\S+) from (\S+)$", log.read_text(), re.MULTILINE).groups()
        given[float(begin)] = gpu
    assert len(given) == 3
    first, second, third = (given[begin] for begin in sorted(given))
    assert {first, second} == {"0", "1"}  # two at once on two GPUs
    assert third in ("0", "1")  # the third when one is free


def test_four_jobs_open_the_same_image_folder_at_once(start: Start, tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 32, 8, 8, 3), dtype=np.uint8)
    for part, split in enumerate(("train", "test")):
        for label in range(2):
            folder = tmp_path / "images" / split / f"class{label}"
            folder.mkdir(parents=True)
            for k in range(32):
                Image.fromarray(pixels[part, label, k]).save(folder / f"{k}.png")
    settings = ["task=folder", "env.data_dir=images", "optim.batch=32", "optim.steps=20", "optim.milestones=[10]"]
    probes = ["probes.curve_every=10", "probes.eval_every=10", "seed=0,1,2,3", "hydra.launcher.gpus_per_node=0"]
    code, output = start(*TRAIN, *settings, *probes).end()
    assert code == 0, output
    hashes = {re.search(r'"data_sha256": "(\w+)"', p.read_text())[1] for p in tmp_path.glob("runs/*/record.json")}
    assert len(hashes) == 1
    assert len(list(tmp_path.glob("runs/*/record.json"))) == 4
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_run_on_two_devices_is_one_job_with_what_both_need(cluster: Loopback, start: Start, tmp_path: Path):
    devices = ["env.devices=2", "env.device=cpu", "optim.steps=40", "seed=0"]
    gpus = [] if cluster.gpus else ["hydra.launcher.gpus_per_node=0"]
    sweep = start(*TRAIN, *devices, *gpus)
    code, output = sweep.end()
    assert code == 0, output
    shown = cluster.command("scontrol", "show", "job", sweep.job())
    assert "NumCPUs=2" in shown
    assert not cluster.gpus or "gres:gpu:2" in shown
    assert len(list(tmp_path.glob("runs/*/record.json"))) == 1


def test_a_pack_is_one_job_that_trains_its_runs_side_by_side(start: Start, tmp_path: Path, undisturbed: dict[str, Any]):
    sweep = start(*TRAIN, "seed=0,1,2,3", "hydra.launcher.pack=2", "hydra.launcher.gpus_per_node=0")
    code, output = sweep.end()
    assert code == 0, output
    assert "2 jobs submitted" in output
    assert sweep.job(0) == sweep.job(1) != sweep.job(2) == sweep.job(3)
    assert records_of(tmp_path) == undisturbed
    packs = {json.loads(path.read_text())["provenance"]["pack"] for path in tmp_path.glob("runs/*/record.json")}
    assert packs == {2}
