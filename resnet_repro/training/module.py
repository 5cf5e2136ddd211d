"""The Lightning module: trains the runs of a pack side by side, most often a pack of one.

One epoch of Lightning's is one curve interval of each run: `curve_every` steps, after which a point of the curves is
written, the test error is measured if it is due, and checkpoints may be taken. Lightning then costs a fixed amount
per interval instead of 0.3 ms per step. Every run has its own checkpoint, so it can go on in another pack, or alone.

So to callbacks and loggers (`trainer.*`) a batch is an interval, an epoch is one such batch, and `trainer.global_step`
is the step at its end; the hooks of single steps (backward pass, optimiser) are not called.
"""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from resnet_repro.training import parallel
from resnet_repro.training.engine import round_robin
from resnet_repro.training.train_state import TrainState


class Pack(pl.LightningModule):
    """Trains the runs until each is done, and calls `finished` with a run as soon as it is.

    checkpoint_seconds: a checkpoint is at most that old, and one interval more.
    """

    def __init__(
        self, states: Sequence[TrainState], checkpoint_seconds: float, finished: Callable[[TrainState], None]
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.active = list(states)
        self.nets = nn.ModuleList(state.net for state in states)
        self.checkpoint_seconds, self.finished = checkpoint_seconds, finished

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [state.sgd for state in self.active]

    def train_dataloader(self) -> Any:
        return range(1)  # one interval; the batches are the engine's

    def on_fit_start(self) -> None:
        self.on_sigterm = signal.getsignal(signal.SIGTERM)
        for state in self.active:  # a single rank's steps need nothing of Lightning, which takes 0.1 ms for each
            state.begin(self.device, *([self.manual_backward] if parallel.world_size() > 1 else []))
        self.saved = time.monotonic()
        self._count()

    def on_train_start(self) -> None:
        # Lightning has replaced the handler by one that ends an unfinished run as if it were finished.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.on_sigterm)

    def training_step(self, *_: Any) -> dict[str, float]:
        """Takes every run to its next curve point, in turns; returns the points.

        By metric; where the pack is of several runs by `<run_id>/<metric>`.
        """
        round_robin([state.interval() for state in self.active])
        for state in self.active:
            state.close_interval()
        self._count()
        return self._shown()

    def _count(self) -> None:
        """Tells Lightning the steps taken, of the run that has taken the most: it has seen none of them."""
        loop, step = self.trainer.fit_loop.epoch_loop, max(state.step for state in self.active)
        steps = loop.manual_optimization.optim_step_progress.total
        steps.completed = steps.ready = step
        loop._batches_that_stepped = step  # at which Lightning's own callbacks log

    def _shown(self) -> dict[str, float]:
        """Hands the points to the Trainer's callbacks and loggers, if it has any: 0.4 ms for each value."""
        alone = len(self.nets) == 1
        points = {
            state: {name if alone else f"{state.place.name}/{name}": value for name, value in state.latest.items()}
            for state in self.active
        }
        every = {name: value for point in points.values() for name, value in point.items()}
        if self.trainer.callbacks:  # type: ignore[attr-defined]
            self.log_dict(every, logger=False, on_step=False, on_epoch=True, batch_size=1)
        for logger in self.trainer.loggers:
            for state, point in points.items():
                logger.log_metrics(point, step=state.step)
        return every

    def on_train_epoch_end(self) -> None:
        ended = [state for state in self.active if state.done]
        self.active = [state for state in self.active if not state.done]
        for state in ended:
            self.finished(state)
        self.trainer.should_stop = not self.active
        if parallel.rank() == 0 and time.monotonic() - self.saved >= self.checkpoint_seconds:
            for state in self.active:
                state.save()
            self.saved = time.monotonic()
