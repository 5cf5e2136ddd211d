"""Hydra's launcher for one machine: one process per run, or per pack of runs, as many at once as there are slots.

Processes come from a fork server that has imported torch and Lightning once, so a run starts in a tenth of a second;
one that crashes or is killed takes no other with it; all end when the sweep ends, however it ends.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from resnet_repro.machine import cores, visible_gpus

PRELOAD = ["resnet_repro.training.preload", "resnet_repro.train", "hydra_plugins.local_launcher"]
LONGEST_MESSAGE = 10_000
"""Characters of an error that a job reports: they must fit into a pipe that is read after the job has ended."""


@dataclass
class LocalLauncherConf:
    _target_: str = "hydra_plugins.local_launcher.LocalLauncher"
    slots: int | None = None  # runs or packs at once; null: one per GPU (or env.devices of them), without GPUs per core
    pack: int | None = None  # runs in a process at most; null: 6 with the graph engine, else 1


@dataclass
class Job:
    """One pack in its process; `answer` brings its error, or None."""

    index: int
    slot: str | None
    process: ForkServerProcess
    answer: Connection


class LocalLauncher(Launcher):
    """One process per pack in a pool of slots."""

    def __init__(self, slots: int | None, pack: int | None) -> None:
        self.given, self.pack = slots, pack

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from resnet_repro.errors import UserError

        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        if self.given is not None and self.given < 1:
            raise UserError(f"hydra.launcher.slots must be at least 1 or null, got {self.given}")
        devices = OmegaConf.select(config, "env.devices") or 1
        gpus = visible_gpus()
        groups = [",".join(gpus[k : k + devices]) for k in range(0, len(gpus) - devices + 1, devices)]
        if gpus and not groups:
            raise UserError(f"env.devices={devices} needs as many GPUs, there are {len(gpus)}; lower env.devices")
        self.at_once = self.given or len(groups) or max(1, cores() // devices)
        self.slots: list[str | None] = [groups[k % len(groups)] if groups else None for k in range(self.at_once)]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs every job; a job's failure is in its JobReturn and stops no other."""
        return self.launch_packs([[overrides] for overrides in job_overrides], initial_job_idx)

    def launch_packs(self, packs: Sequence[Sequence[Sequence[str]]], initial_job_idx: int) -> list[JobReturn]:
        """Trains every pack, given by the overrides of its runs; one JobReturn for each run, in their order."""
        import cloudpickle

        # Compressed it fits a pipe (64 kB): else a start waits for the imports of the fork server, and a stop meanwhile
        # would leave a child with half of it.
        state = self.hydra_context, self.task_function, self.config, Singleton.get_state()
        shared = zlib.compress(cloudpickle.dumps(state))
        waiting, free = deque(enumerate(packs)), deque(self.slots)
        active: dict[Any, Job] = {}
        failures: dict[int, str | None] = {}
        try:
            while waiting or active:
                while waiting and free:
                    index, pack = waiting.popleft()
                    job = _start(shared, index, pack, initial_job_idx + index, free.popleft())
                    active[job.process.sentinel] = job
                for sentinel in wait(list(active)):
                    job = active.pop(sentinel)
                    failures[job.index] = _failure(job)
                    free.append(job.slot)
        finally:
            for job in active.values():
                job.process.kill()
                job.process.join()
        return [_returned(overrides, failures[index]) for index, pack in enumerate(packs) for overrides in pack]


def _start(shared: bytes, index: int, pack: Sequence[Sequence[str]], number: int, slot: str | None) -> Job:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_job, args=(shared, [list(run) for run in pack], number, slot, send))
    with _main_module_hidden():
        process.start()
    send.close()
    return Job(index, slot, process, receive)


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keeps a child from running this process's main module again; a job brings all it needs with it."""
    main = sys.modules["__main__"].__dict__
    kept: dict[str, Any] = {key: main.pop(key) for key in ("__spec__", "__file__") if key in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(kept)


def _failure(job: Job) -> str | None:
    """Waits for a job's end; what went wrong in it."""
    job.process.join()
    try:
        return job.answer.recv()
    except EOFError:
        code = job.process.exitcode or 0
        what = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"the process {what}"


def _returned(overrides: Sequence[str], failure: str | None) -> JobReturn:
    result = JobReturn(overrides=overrides, status=JobStatus.FAILED if failure else JobStatus.COMPLETED)
    result.return_value = RuntimeError(failure) if failure else None
    return result


def _job(shared: bytes, pack: list[list[str]], number: int, slot: str | None, answer: Connection) -> None:
    """Trains one pack in a child of the fork server; answers None, or what went wrong."""
    import cloudpickle

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's to handle
    threading.Thread(target=_die_with_sweep, daemon=True).start()
    if slot is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot
    hydra_context, task_function, config, state = cloudpickle.loads(zlib.decompress(shared))
    Singleton.set_state(state)
    setup_globals()
    if len(pack) == 1:
        error = _hydra_job(hydra_context, task_function, config, pack[0], number)
    else:
        error = _train_together(pack)
    answer.send(error and _words(error)[:LONGEST_MESSAGE])
    logging.shutdown()
    sys.stdout.flush()


def _words(error: BaseException) -> str:
    from resnet_repro.errors import sentence

    return sentence(error) or "".join(traceback.format_exception_only(error)).strip()


def _hydra_job(context: Any, task_function: Any, config: Any, overrides: list[str], number: int) -> Any:
    """One job as Hydra has them; returns the exception that ended it."""
    composed = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    result = run_job(
        hydra_context=context,
        task_function=task_function,
        config=composed,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    return None if result.status is JobStatus.COMPLETED else result._return_value


def _train_together(pack: list[list[str]]) -> BaseException | None:
    from resnet_repro import settings, train

    try:
        train.train_pack([(settings.compose(overrides), overrides) for overrides in pack], log=True)
    except (Exception, SystemExit) as error:
        return error
    return None


def _die_with_sweep() -> None:
    """Ends this process at once when the sweep ends, also by SIGKILL.

    The fork server is this process's parent in the eyes of the kernel, and lives as long as any of its children.
    """
    sweep = multiprocessing.parent_process()
    assert sweep is not None
    sweep.join()
    os.kill(os.getpid(), signal.SIGKILL)


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="resnet_repro")
