"""The local launcher's slots, in a small Hydra application of their own."""

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

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


def test_each_job_sees_one_gpu_which_no_other_job_has_at_that_time(tmp_path: Path):
    (tmp_path / "app.py").write_text(APPLICATION)
    subprocess.run(
        [sys.executable, "app.py", "-m", "hydra/launcher=local", "+k=0,1,2,3,4"],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "7,9"}, cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    jobs = [json.loads(path.read_text()) for path in tmp_path.glob("job*.json")]
    assert len(jobs) == 5
    assert {job["gpu"] for job in jobs} == {"7", "9"}
    for one, other in combinations(jobs, 2):
        if one["gpu"] == other["gpu"]:
            assert one["end"] <= other["begin"] or other["end"] <= one["begin"]
