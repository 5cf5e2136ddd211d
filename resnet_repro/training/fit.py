"""From runs to trained networks: PyTorch's settings, and Lightning's trainer around a pack of runs."""

import logging
import os
import warnings
from collections.abc import Callable, Sequence

import pytorch_lightning as pl
import torch

from resnet_repro.config import ConfigError, Run
from resnet_repro.errors import UserError
from resnet_repro.probes.numerics import bf16_per_fp32
from resnet_repro.training import parallel
from resnet_repro.training.module import Pack
from resnet_repro.training.train_state import TrainState
from resnet_repro.training.watchers import watchers

log = logging.getLogger(__name__)


def fit(states: Sequence[TrainState], finished: Callable[[TrainState], None]) -> None:
    """Trains the runs of a pack side by side, each from its checkpoint if it has one.

    `finished` is called with each run once it is done, its network on the device where it trained. One with 0
    steps is its network at the initialisation, ready to be measured.
    Raises ConfigError for a device that is not there, KeyboardInterrupt on Ctrl-C.
    """
    device = set_up(states[0].run)
    for state in states:
        if state.run.optim.steps == 0:
            state.begin(device)
            finished(state)
    left = [state for state in states if state.run.optim.steps > 0]
    if not left:
        return
    env = states[0].run.env
    if env.devices == 1:
        _train(Pack(left, env.checkpoint_seconds, finished), device)
        return
    _train(Pack(left, env.checkpoint_seconds, lambda _: None), device)
    first = parallel.rank() == 0
    parallel.leave_group()
    if first:  # the final errors are those of one process, without the others
        (state,) = left
        state.net.to(state.engine.device)  # Lightning leaves it on the CPU
        finished(state)


def set_up(run: Run) -> torch.device:
    """Sets threads, determinism and precision of this process; returns the device."""
    # These must be there before the first CUDA call. Without cuBLAS's, deterministic algorithms refuse; without the
    # other, at most 8 streams go side by side.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
    torch.set_num_threads(run.env.threads)
    if run.env.devices > 1:
        os.environ["OMP_NUM_THREADS"] = str(run.env.threads)  # else Lightning sets its own number for several ranks
    torch.use_deterministic_algorithms(True)
    # With it, every new tensor would be filled before it is written: a kernel more for each.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("high" if run.optim.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = run.optim.precision == "tf32"
    there = torch.cuda.is_available()
    if run.env.device == "cuda" and not there:
        raise ConfigError("env.device=cuda, but torch sees no CUDA device; use env.device=cpu or auto")
    if run.env.engine == "graph" and (run.env.device == "cpu" or not there):
        raise ConfigError("env.engine=graph needs a CUDA device, and there is none to use; use env.engine=eager")
    device = torch.device("cuda" if run.env.device != "cpu" and there else "cpu")
    if run.optim.precision == "bf16" and device.type == "cpu" and (factor := bf16_per_fp32("cpu")) > 1:
        log.warning("bf16 takes %.1f times as long as fp32 on this CPU (measured); use optim.precision=fp32", factor)
    return device


def _train(pack: Pack, device: torch.device) -> None:
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    first = pack.active[0]
    trainer = pl.Trainer(
        **parallel.trainer_arguments(first.run, device),
        max_epochs=-1,
        **watchers(first.run.trainer, first.place),
    )
    try:
        trainer.fit(pack)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into exit code 1
            raise KeyboardInterrupt from stop
        raise
    if pack.active:
        stopped = ", ".join(f"{state.place.name} at step {state.step}" for state in pack.active)
        raise UserError(f"a callback of trainer.callbacks has ended the training too early: {stopped}; leave it out")
