"""The local launcher's slots, in a small Hydra application of their own."""

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

APPLICATION = """
import json, os, time
from pathlib import Path
import hydra

@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    begin = time.time()
    time.sleep(0.3)
    job = {"gpu": os.environ["CUDA_VISIBLE_DEVICES"], "begin": begin, "end": time.time()}
    Path(f"job{cfg.k}.json").write_text(json.dumps(job))

main()
"""


def jobs(folder: Path, gpus: str, *words: str) -> list[dict]:
    """What each of five jobs saw."""
    (folder / "app.py").write_text(APPLICATION)
    subprocess.run(
        [sys.executable, "app.py", "-m", "hydra/launcher=local", "+k=0,1,2,3,4", *words],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": gpus}, cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = [json.loads(path.read_text()) for path in folder.glob("job*.json")]
    assert len(found) == 5
    return found


def assert_no_two_share_a_gpu(found: list[dict]) -> None:
    for one, other in combinations(found, 2):
        if one["gpu"] == other["gpu"]:
            assert one["end"] <= other["begin"] or other["end"] <= one["begin"]


def test_each_job_sees_one_gpu_which_no_other_job_has_at_that_time(tmp_path: Path):
    found = jobs(tmp_path, "7,9")
    assert {job["gpu"] for job in found} == {"7", "9"}
    assert_no_two_share_a_gpu(found)


def test_runs_on_two_devices_see_two_gpus_each_and_an_odd_one_stays_idle(tmp_path: Path):
    found = jobs(tmp_path, "0,1,4,5,6", "+env.devices=2")
    assert {job["gpu"] for job in found} == {"0,1", "4,5"}
    assert_no_two_share_a_gpu(found)


def test_more_devices_than_gpus_are_refused_before_anything_starts(tmp_path: Path):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        jobs(tmp_path, "3", "+env.devices=2")
    assert "env.devices=2 needs as many GPUs, there are 1" in refused.value.stderr
    assert not list(tmp_path.glob("job*.json"))
