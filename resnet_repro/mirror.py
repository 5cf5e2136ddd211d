"""Weights & Biases shows the runs; the run folders are the truth.

One process of its own follows the folders of a sweep and repeats what appears there to W&B: config, points,
summary, group = experiment, tags, and the run's id, so that a resumed run goes on as the same W&B run. Training
never talks to W&B, so no missing key, broken network or failing server can stop or slow it.
"""

import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from resnet_repro import records
from resnet_repro.config import Measure, columns
from resnet_repro.errors import command
from resnet_repro.planning import Planned

POLL_SECONDS = 1.0
NOTHING = -1
"""The step that a mirror has reached which has not mirrored any."""
PATIENCE = 30.0
"""Seconds that W&B may take: a third of it to start a run, all of it to hand over the last data of a run."""

# On the side of training ---------------------------------------------------------------------------------------


@contextmanager
def following(planned: Sequence[Planned], patience: float = PATIENCE) -> Iterator[None]:
    """Mirrors these runs to W&B while the body runs, and what is left at its end. Does nothing when disabled.

    Returns at most 2 * patience + 30 seconds after the body. Whatever happens to the mirror, nothing is raised here.
    """
    if not planned or planned[0].run.env.wandb == "disabled":
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
    # The W&B client sends its makers reports on itself; at its end, without a server, it would try for 10 s.
    environment = {"OTEL_SDK_DISABLED": "true", "WANDB_ERROR_REPORTING": "false", **os.environ}
    with open(log, "a", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "resnet_repro.mirror"],
            stdin=subprocess.PIPE, stderr=errors, encoding="utf-8", env=environment,
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
    keys = {"runs_dir": env.runs_dir, "mode": env.wandb, "project": env.wandb_project, "group": env.group}
    return {**keys, "patience": patience, "jobs": jobs}


def _wait(process: subprocess.Popen, patience: float, log: Path) -> None:
    """Tells the mirror, by the end of its input, that training is over, and waits for it, though not forever."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        code = process.wait(timeout=2 * patience + 30)
    except subprocess.TimeoutExpired:
        _say("the rest is handed over in the background")
    else:
        if code != 0:
            _say(f"mirroring stopped early, {log} says why; the same command goes on with it")


def _say(message: str) -> None:
    print(f"W&B: {message}", flush=True)


# The mirror, a process of its own ------------------------------------------------------------------------------


class Session:
    """The W&B runs that are open. Falls back to offline once, and for good, where online does not work."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self.mode = task["mode"]
        self.runs: dict[str, Any] = {}

    def run(self, job: dict[str, Any], resume: bool) -> Any:
        """The job's W&B run; when it is not open, it is opened, to go on with what W&B has of it or to replace that."""
        if job["id"] not in self.runs:
            self.runs[job["id"]] = self._open(job, "allow" if resume else None)
        return self.runs[job["id"]]

    def finish(self, name: str, exit_code: int) -> None:
        """Ends a W&B run; what the server does not take in time stays on disk."""
        try:
            self.runs.pop(name).finish(exit_code)
        except TimeoutError:
            self._fall_back("the server does not take the data")

    def finish_all(self) -> None:
        """Ends those that are open still, as not finished."""
        while self.runs:
            self.finish(next(iter(self.runs)), exit_code=1)

    def _open(self, job: dict[str, Any], resume: Any) -> Any:
        if self.mode == "online":
            try:
                return self._init(job, resume)
            except Exception as error:  # whatever W&B raises: no key, no network, a server's answer
                self._fall_back(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
        return self._init(job, resume)

    def _init(self, job: dict[str, Any], resume: Any) -> Any:
        import wandb

        task, config = self.task, job["config"]
        settings = wandb.Settings(
            silent=True, console="off", init_timeout=task["patience"] / 3, finish_timeout=task["patience"],
            finish_timeout_raises=True, x_transaction_log_flush_interval=POLL_SECONDS,
            save_code=False, disable_git=True, x_disable_stats=True, x_disable_machine_info=True, host="",
        )  # fmt: skip
        run = wandb.init(
            project=task["project"], group=task["group"], mode=self.mode, dir=task["runs_dir"],
            id=job["id"], name=job["id"], job_type="train", config=config,
            tags=[config["model"], f"depth {config['depth']}", config["data"][:64]],  # 64: W&B's limit
            resume=resume, reinit="create_new", settings=settings,
        )  # fmt: skip
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        return run

    def _fall_back(self, why: str) -> None:
        import wandb

        self.mode = "offline"
        self.runs.clear()
        wandb.teardown()  # ends the open runs, all at once; W&B would not open them again otherwise
        sync = f"wandb sync --include-online {self.task['runs_dir']}/wandb/*run-*"
        _say(f"online does not work ({why}). Training goes on, and its mirror offline; `{sync}` uploads it later.")


class Follower:
    """Repeats one run folder to W&B, from where an earlier follower stopped; one process at a time does."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job, self.place = job, Path(job["place"])
        self.step, self.done = NOTHING, False  # how far it has got
        self.file, self.since = "", NOTHING  # W&B's newest file of the run, and how far the mirror was when that began
        self.seen = 0  # points there at the last look
        self.lock: IO[str] | None = None
        self.asked = Measure(**job["measure"])

    def poll(self, session: Session, last: bool) -> None:
        """Repeats the steps that are new and, once it is there, the record. last: nothing is written any more."""
        if self.done or not (self.place / "run.json").exists():
            return
        record = records.read(self.place)  # before the points, which are complete when it is there
        if record is not None and records.lacking(record, self.asked):
            return  # it will be measured again
        if not self._owned():
            return
        steps = self._new_steps(records.read_points(self.place), whole=last or record is not None)
        if not steps and record is None:
            return
        run = session.run(self.job, resume=self.step != NOTHING)
        self._note_file(os.path.relpath(run.settings.sync_file, self.place))
        for step, logged in steps.items():
            run.log(logged)
            self.step = step
        if record is not None:
            final = record["metrics"] | {k: record[k] for k in ("status", "parameters", "diverged_step")}
            run.summary.update({f"final/{k}": v for k, v in final.items()})
            session.finish(self.job["id"], exit_code=0)
            self.done = True
        self._note()
        if self.done:
            self._release()

    def _new_steps(self, points: Sequence[records.Point], whole: bool) -> dict[int, dict[str, Any]]:
        """What to log of each step that is new; not yet the last one while it may be half written."""
        steps = {step: logged for step, logged in _by_step(points).items() if step > self.step}
        if steps and not whole and len(points) != self.seen:
            del steps[max(steps)]
        self.seen = len(points)
        return steps

    def _note_file(self, file: str) -> None:
        """Notes a file of W&B's before anything is logged to it."""
        if file != self.file:
            self.file, self.since = file, self.step
            self._note()

    def _note(self) -> None:
        state = {"step": self.step, "done": self.done, "file": self.file, "since": self.since}
        records.write_json(self.place / "wandb.json", state)

    def _owned(self) -> bool:
        """Whether it is this process that mirrors the run: two sweeps may have it in their plans."""
        if self.lock is None:
            self.lock = records.open_locked(self.place / "wandb.lock")
            if self.lock is None:
                return False
            self._recall()
            self._look_into_file()
        if self.done:  # the other one has finished it
            self._release()
        return not self.done

    def _recall(self) -> None:
        with suppress(OSError, ValueError, KeyError):  # not mirrored yet
            state = json.loads((self.place / "wandb.json").read_text(encoding="utf-8"))
            self.done, self.step = state["done"], state.get("step", NOTHING)  # version 0.1 counted rows
            self.file, self.since = state["file"], state["since"]

    def _look_into_file(self) -> None:
        """Looks at the steps in W&B's own file: a mirror that was killed may have noted other than was written."""
        path = self.place / self.file
        if self.done or not path.is_file():  # one that was removed after an upload tells nothing
            return
        for _ in range(20):  # the process that writes it outlives its mirror by an instant
            if abs(time.time() - path.stat().st_mtime) > 2 * POLL_SECONDS:
                break
            time.sleep(POLL_SECONDS / 4)
        written = logged(path)
        if written is not None:
            self.step = max((point["step"] for point in written), default=self.since)

    def _release(self) -> None:
        assert self.lock is not None
        self.lock.close()


def _by_step(points: Sequence[records.Point]) -> dict[int, dict[str, Any]]:
    """What W&B is given of each step: `{"step": 20, "train_loss": 1.2, ...}`; of a metric with an axis `_profile`."""
    steps: dict[int, dict[str, Any]] = {}
    for step, metric, x, _, value in points:
        logged = steps.setdefault(step, {"step": step})
        if x is None:
            logged[metric] = value
        else:
            logged.setdefault(metric, []).append(value)
    return {
        step: {k: _profile(v) if isinstance(v, list) else v for k, v in logged.items()}
        for step, logged in steps.items()
    }


def _profile(values: Sequence[float]) -> Any:
    """A histogram with a bin for each layer, as high as the value there: W&B then shows the profile over the steps.

    What is no number is drawn as 0; of more layers than W&B has bins, every second, third, ...
    """
    import numpy as np
    import wandb

    stride = -(-len(values) // wandb.Histogram.MAX_LENGTH)
    heights = [value if math.isfinite(value) else 0.0 for value in values[::stride]]
    return wandb.Histogram(np_histogram=(np.array(heights), np.arange(len(heights) + 1) * stride + 1))


def logged(path: Path) -> list[dict[str, Any]] | None:
    """The points in a file of W&B's, the newest last, a beginning of what was to be logged to it; None: unreadable."""
    from wandb.util import get_core_path

    # What `wandb leet inspect --json` calls, which takes a second to start.
    reader = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file"]
    done = subprocess.run(
        [*reader, str(path), str(path.parent)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        return None
    found = [json.loads(line) for line in done.stdout.splitlines()]
    items = [record["history"]["item"] for record in found if record["type"] == "history"]
    return [{k: v for k, v in item.items() if not k.startswith("_")} for item in items]


def follow(task: dict[str, Any], ended: IO[str]) -> None:
    """Follows the runs' folders until `ended` is at its end and all that is there has been repeated."""
    session = Session(task)
    followers = [Follower(job) for job in task["jobs"]]
    last = False
    while not last:
        last = _at_end(ended)
        for follower in followers:
            follower.poll(session, last)
    session.finish_all()


def _at_end(stream: IO[str]) -> bool:
    """Waits up to a poll interval for the stream's end."""
    readable, _, _ = select.select([stream], [], [], POLL_SECONDS)
    return bool(readable) and not stream.readline()


if __name__ == "__main__":
    command(lambda: follow(json.loads(sys.stdin.readline()), sys.stdin))
