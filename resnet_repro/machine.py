"""What this machine has, told without torch."""

import ctypes
import math
import os
import signal
import sys
import time
from functools import lru_cache
from pathlib import Path

from resnet_repro.provenance import device_name

GPUS = Path("/proc/driver/nvidia/gpus")
TRIAL_SECONDS = 0.5
WORK_SECONDS = 0.0062
"""What the work of a trial took on one quiet core of the committed results' machine, an AMD EPYC."""


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


@lru_cache(maxsize=1)
def slowness() -> float:
    """How many times as long as a piece of work took where the committed results were measured it takes here and now.

    Tried for half a second, as other programs leave it the core: small array operations, as small networks are made
    of. 1.0 where the difference is no more than such a trial's own.
    """
    import numpy as np

    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < TRIAL_SECONDS:
        x = np.linspace(-1, 1, 8192, dtype=np.float32).reshape(128, 64)
        for _ in range(400):
            x = np.maximum(x - x.mean(0), 0) + 0.01
        count += 1
    found = (time.perf_counter() - began) / count / WORK_SECONDS
    return found if abs(math.log(found)) > math.log(1.3) else 1.0


def end_with(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Has the kernel send `by` to this process when its parent, of this process id, ends; at once where it has ended.

    On Linux only. The parent hands over its id: it may have ended while this process was importing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, by)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os.kill(os.getpid(), by)
