"""Weights & Biases shows the runs; the run folders are the truth.

One process of its own (`python -m resnet_repro.mirror`) follows the folders of a sweep and repeats what appears there
to W&B: config, points, summary, group = experiment, tags, and the run's id, so that a resumed run goes on as the same
W&B run. Training never talks to W&B, so no missing key, broken network or failing server can stop or slow it.

    __init__.py   on the side of training: starts that process, and waits for it at the end
    runs.py       in the process: which W&B runs are open, and how far each is
    points.py     what W&B is given of a step, and what a file of its own holds
    sync.py       uploads later what W&B has not seen
    workspace.py  what one looks at of an experiment's runs there, for `dashboard`
    report.py     the same with verdicts and figures, to be read
    views.py      saves either where it was saved before
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resnet_repro import records
from resnet_repro.config import Env, columns
from resnet_repro.planning import Planned

PATIENCE = 30.0
"""Seconds that W&B may take: a third of it to start a run or to answer once, all of it for the last data of a run."""
RETICENT = {"OTEL_SDK_DISABLED": "true", "WANDB_ERROR_REPORTING": "false"}
"""The W&B client sends its makers reports on itself; at its end, without a server, it would try for 10 s."""


MODES = {name: name for name in ("offline", "online", "disabled")} | {"dryrun": "offline", "run": "online"}
"""What WANDB_MODE may be, in our words; W&B's older ones are understood."""


def mode(env: Env) -> str:
    """offline, online or disabled: what env.wandb says, else WANDB_MODE, else offline."""
    return MODES.get(os.environ.get("WANDB_MODE", ""), "offline") if env.wandb == "auto" else env.wandb


def project(env: Env) -> str:
    """The W&B project: what env.wandb_project says, else WANDB_PROJECT, else resnet_repro."""
    return env.wandb_project or os.environ.get("WANDB_PROJECT") or "resnet_repro"


@contextmanager
def following(planned: Sequence[Planned], patience: float = PATIENCE) -> Iterator[None]:
    """Mirrors these runs to W&B while the body runs, and what is left at its end. Does nothing when disabled.

    Returns at most 2 * patience + 30 seconds after the body. Whatever happens to the mirror, nothing is raised here.
    """
    if not planned or mode(planned[0].run.env) == "disabled":
        yield
        return
    log = Path(planned[0].run.env.runs_dir) / "wandb" / "mirror.log"
    process = _start(planned, patience, log)
    try:
        yield
    finally:
        _wait(process, patience, log)


def _start(planned: Sequence[Planned], patience: float, log: Path) -> subprocess.Popen:
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "resnet_repro.mirror"],
            stdin=subprocess.PIPE, stderr=errors, encoding="utf-8",
            env=RETICENT | {"WANDB_HTTP_TIMEOUT": f"{max(1, patience / 3):.0f}"} | os.environ,
            start_new_session=True,  # Ctrl-C is for the sweep; what is on disk is still repeated
        )  # fmt: skip
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it died at once; _wait says so
        process.stdin.write(json.dumps(_task(planned, patience)) + "\n")
        process.stdin.flush()
    return process


def _task(planned: Sequence[Planned], patience: float) -> dict[str, Any]:
    """What the mirror has to know: where W&B's files go and how, and of each run its id, folder and settings."""
    env = planned[0].run.env
    jobs = [
        {
            "id": plan.id,
            "place": str(records.folder(plan.run, plan.id)),
            "config": columns(plan.run),
            "measure": asdict(plan.run.measure),
        }
        for plan in planned
    ]
    keys = {"runs_dir": env.runs_dir, "mode": mode(env), "project": project(env), "group": env.group}
    return {
        **keys, "artifact": env.wandb_artifact, "system": env.wandb_system, "patience": patience, "jobs": jobs
    }  # fmt: skip


def _wait(process: subprocess.Popen, patience: float, log: Path) -> None:
    """Tells the mirror, by the end of its input, that training is over, and waits for it, though not forever."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        code = process.wait(timeout=2 * patience + 30)
    except subprocess.TimeoutExpired:
        say("the rest is handed over in the background")
    else:
        if code != 0:
            say(f"mirroring stopped early, {log} says why; the same command goes on with it")


def say(message: str) -> None:
    """Prints it as the mirror's."""
    print(f"W&B: {message}", flush=True)
