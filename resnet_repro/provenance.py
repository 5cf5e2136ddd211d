"""Where a number comes from: commit, versions, device. Never environment variables, user or host names."""

import platform
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def describe(device: str) -> dict[str, Any]:
    """Commit, Python, package versions and the device's name (`cpu` or `cuda`)."""
    packages = {name: version(name) for name in ("torch", "torchvision", "pytorch-lightning", "numpy")}
    return {"commit": commit(), "python": platform.python_version(), **packages, "device": device_name(device)}


@lru_cache(maxsize=1)
def commit() -> str:
    """The checkout's commit, `-dirty` added where tracked files were changed; `unknown` outside git."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(
            [*git, "status", "--porcelain", "-uno", "--", "resnet_repro", "conf", "hydra_plugins"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("-dirty" if changes.stdout.strip() else "")


def device_name(device: str) -> str:
    """The model name of the GPU, or of the CPU."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or sys.platform
