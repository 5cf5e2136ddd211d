"""Starts the processes of a run on several devices of this machine, through torchrun's own launcher.

Lightning's launchers would not do: that of `ddp` starts the command line again, which in a sweep's job is the whole
sweep and in a notebook the kernel, and that of `ddp_spawn` hands a copy of network and data set to every process
through shared memory. So to Lightning every rank looks as if torchrun had started it.
"""

import logging
import multiprocessing
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from resnet_repro.errors import UserError
from resnet_repro.machine import end_with


def launch(processes: int, body: Callable[..., None], *args: Any) -> None:
    """Runs body(*args) in so many new processes at once, and returns when all have ended; `body` can be imported.

    When one fails or is killed, the others are ended. All end with this process, however it ends.
    Raises UserError where a process ended by what is the user's to mend, RuntimeError where it failed otherwise.
    """
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=uuid.uuid4().hex, max_restarts=0,
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", local_addr="localhost", signals_to_handle="SIGTERM",
    )  # fmt: skip
    with _as_before():
        try:
            elastic_launch(config, _rank)(body, *args)
        except ChildFailedError as error:
            raise _failure(*error.get_first_failure()) from None


@contextmanager
def _as_before() -> Iterator[None]:
    """Keeps the launcher from printing what is raised as well, and from leaving its signal handler behind."""
    handler, disabled = signal.getsignal(signal.SIGTERM), logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(disabled)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _rank(body: Callable[..., None], *args: Any) -> None:
    """One of the processes: it ends with the one that started it, which alone decides on Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid is not None
    end_with(parent.pid)
    body(*args)


def _failure(rank: int, failure: ProcessFailure) -> Exception:
    """What a rank failed of; the user's errors travel as `<class>: <sentence>`."""
    said: Any = failure.message
    if not isinstance(said, dict):
        return RuntimeError(f"rank {rank}: {said}")
    name, _, sentence = said["message"].partition(": ")
    if name in _names(UserError):
        return UserError(sentence)
    return RuntimeError(f"rank {rank} failed:\n{said['extraInfo']['py_callstack']}")


def _names(error: type[Exception]) -> set[str]:
    return {error.__name__}.union(*(_names(kind) for kind in error.__subclasses__()))
