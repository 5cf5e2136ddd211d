"""What this machine has, told without torch."""

import os
from pathlib import Path

from resnet_repro.provenance import device_name

GPUS = Path("/proc/driver/nvidia/gpus")


def cores() -> int:
    """The CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu for gpu in named.split(",") if gpu not in ("", "-1", "NoDevFiles")]
    return [str(k) for k, _ in enumerate(GPUS.iterdir())] if GPUS.is_dir() else []


def device() -> str:
    """The name of the first GPU, else of the CPU, as a record's `device` has it."""
    for path in sorted(GPUS.glob("*/information")) if visible_gpus() else []:
        models = [
            line.split(":", 1)[1].strip()
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.startswith("Model")
        ]
        return models[0] if models else "unknown GPU"
    return device_name("cpu")
