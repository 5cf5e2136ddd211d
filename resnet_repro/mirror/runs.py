"""The process that mirrors runs: which W&B runs are open, and how far each run folder has been repeated."""

import json
import os
import select
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from resnet_repro import records
from resnet_repro.config import Measure
from resnet_repro.mirror import say
from resnet_repro.mirror.points import by_step, logged

POLL_SECONDS = 1.0
TOLD = ("seconds", "engine", "commit", "device", "torch")
"""Of where a record comes from, what the summary says."""
NOTHING = -1
"""The step that a mirror has reached which has not mirrored any."""


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

    def keep(self, job: dict[str, Any], place: Path) -> Any:
        """Logs what is kept of a finished run to its W&B run; returns that, or the one that goes on offline."""
        if self.mode == "online":
            try:
                self.runs[job["id"]].log_artifact(_artifact(job["id"], place))
            except Exception as error:  # the client asks the server about it there and then
                self._fall_back(_said(error))
            else:
                return self.runs[job["id"]]
        run = self.run(job, resume=True)
        run.log_artifact(_artifact(job["id"], place))
        return run

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
                self._fall_back(_said(error))
        return self._init(job, resume)

    def _init(self, job: dict[str, Any], resume: Any) -> Any:
        import wandb

        task, config = self.task, {**job["config"], "experiment": self.task["group"]}
        settings = wandb.Settings(
            silent=True, console="off", init_timeout=task["patience"] / 3, finish_timeout=task["patience"],
            finish_timeout_raises=True, x_transaction_log_flush_interval=POLL_SECONDS,
            save_code=False, disable_git=True, host="",
            x_disable_stats=not task["system"], x_disable_machine_info=not task["system"],  # no stats without info
        )  # fmt: skip
        run = wandb.init(
            project=task["project"], group=task["group"], mode=self.mode, dir=task["runs_dir"],
            id=job["id"], name=job["id"], job_type="train", config=config,
            tags=[config["model"], f"depth {config['depth']}", config["data"][:64], *_own_tags()],  # 64: W&B's limit
            resume=resume, reinit="create_new", settings=settings,
        )  # fmt: skip
        run.define_metric("step", hidden=True)
        run.define_metric("*", step_metric="step")
        return run

    def _fall_back(self, why: str) -> None:
        import wandb

        self.mode = "offline"
        self.runs.clear()
        wandb.teardown()  # ends the open runs, all at once; W&B would not open them again otherwise
        sync = f"wandb sync --include-online {self.task['runs_dir']}/wandb/*run-*"
        say(f"online does not work ({why}). Training goes on, and its mirror offline; `{sync}` uploads it later.")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _own_tags() -> list[str]:
    """The user's, of WANDB_TAGS, which W&B itself does not read where it is given some."""
    return [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]


def _artifact(name: str, place: Path) -> Any:
    """What is kept of a finished run, as an artifact; its files are uploaded from where they lie."""
    import wandb

    artifact = wandb.Artifact(name, type="run")
    for file in records.kept(place):
        artifact.add_file(str((place / file).absolute()), policy="immutable", skip_cache=True)
    return artifact


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
        for step, values in steps.items():
            run.log(values)
            self.step = step
        if record is not None and session.task["artifact"]:
            run = session.keep(self.job, self.place)
            self._note_file(os.path.relpath(run.settings.sync_file, self.place))
        if record is not None:
            final = record["metrics"] | {k: record[k] for k in ("status", "parameters", "diverged_step")}
            final |= {k: record["provenance"][k] for k in TOLD if k in record["provenance"]}
            run.summary.update({f"final/{k}": v for k, v in final.items()})
            run.tags = (*run.tags, record["status"])
            session.finish(self.job["id"], exit_code=0)
            self.done = True
        self._note()
        if self.done:
            self._release()

    def _new_steps(self, points: Sequence[records.Point], whole: bool) -> dict[int, dict[str, Any]]:
        """What to log of each step that is new; not yet the last one while it may be half written."""
        steps = {step: values for step, values in by_step(points).items() if step > self.step}
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
