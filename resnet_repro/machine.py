"""What this machine has, told without torch."""

import ctypes
import os
import signal
import sys
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


def end_with(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Has the kernel send `by` to this process when its parent, of this process id, ends; at once where it has ended.

    On Linux only. The parent hands over its id: it may have ended while this process was importing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, by)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os.kill(os.getpid(), by)
