"""The Lightning module of one run, and the callback that keeps its checkpoint.

One epoch of Lightning's is one curve interval of ours: `curve_every` steps, after which a point of the curves is
written, the test error is measured if it is due, and a checkpoint may be taken. Lightning then costs a fixed
amount per interval instead of 0.3 ms per step, and resumes at the end of an epoch, where it does so exactly.
"""

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from resnet_repro import records
from resnet_repro.config import Run
from resnet_repro.data import Images
from resnet_repro.probes.errors import clean_batches, error
from resnet_repro.training import parallel
from resnet_repro.training.engine import Eager, optimizer
from resnet_repro.training.schedule import learning_rate, shortened, warmup_end
from resnet_repro.training.step import NEVER


class Training(pl.LightningModule):
    """Trains `net` as `run` says and appends its curves to `place`/curves.csv."""

    def __init__(self, run: Run, net: nn.Module, images: Images, place: Path) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.run, self.net, self.images, self.place = run, net, images, place
        self.step = 0
        self.warm_until = warmup_end(run.optim)
        self.rows: list[records.Row] = []
        self.seconds = 0.0
        self.diverged_step: int | None = None
        self.running: dict[str, float] = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer(self.run, self.net)

    def train_dataloader(self) -> Any:
        return range(1)  # one interval; the batches are the engine's

    def on_fit_start(self) -> None:
        self.begin(self.optimizers(use_pl_optimizer=False))  # type: ignore[arg-type]

    def begin(self, sgd: torch.optim.Optimizer) -> None:
        """Puts the data where the network is, and starts the curves with what a checkpoint brought."""
        self.engine = Eager(self.run, self.net, sgd, self.images)
        test = (self.images.test_x, self.images.test_y)
        self.test_batches = clean_batches(self.engine.transform, *test, self.device)
        parallel.check_same_step(self.step, self.device)
        if parallel.rank() == 0:
            records.write_curves(self.place, self.rows)
        self.started = time.perf_counter() - self.seconds

    def training_step(self, *_: Any) -> None:
        """Takes the steps up to the next curve point, or to the end."""
        stop = min(self.step + self.run.probes.curve_every, self.run.optim.steps)
        self.engine.advance(self.step, stop, self.warm_until)
        self.step = stop

    def on_train_epoch_end(self) -> None:
        parallel.combine(self.engine.tally, self.net)
        self._note_divergence()
        rows = self._curve_point()
        if parallel.rank() == 0:
            records.append_curves(self.place, rows)
        self.rows += rows
        self.warm_until = shortened(self.warm_until, self.step, self.run.optim, self.running["train_error_running"])
        self.seconds = time.perf_counter() - self.started
        self.trainer.should_stop = self.step >= self.run.optim.steps or self.diverged_step is not None

    def _note_divergence(self) -> None:
        first_bad = int(self.engine.tally.first_bad)
        if first_bad != NEVER:
            self.diverged_step = first_bad

    def _curve_point(self) -> list[records.Row]:
        tally, due = self.engine.tally, self.run.probes.eval_every
        seen = int(tally.seen)
        self.running = {
            "train_error_running": 100.0 * int(tally.wrong) / seen,
            "train_loss": float(tally.loss) / seen,
        }
        point = {"lr": learning_rate(self.step - 1, self.run.optim, self.warm_until), **self.running}
        due_now = self.step >= self.run.optim.steps or (due and self.step % due == 0)
        if due_now and parallel.rank() == 0:
            point["test_error"] = error(self.net, self.test_batches, self.run.optim.precision == "bf16")
        tally.reset()
        return [(self.step, metric, value) for metric, value in point.items()]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["resnet_repro"] = {
            "step": self.step,
            "warm_until": self.warm_until,
            "rows": self.rows,
            "seconds": self.seconds,
            "running": self.running,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name, value in checkpoint["resnet_repro"].items():
            setattr(self, name, value)


class Checkpoint(pl.callbacks.Checkpoint):
    """Keeps one checkpoint of an unfinished run, at most `every` seconds old (and one curve interval more).

    Lightning calls a `Checkpoint` after the module's own hook, so the interval's curve point is in it.
    """

    def __init__(self, place: Path, every: float) -> None:
        self.place, self.every = place, every
        self.last = time.monotonic()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning has replaced the handler by one that ends an unfinished run as if it were finished.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.on_sigterm)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.should_stop or parallel.rank() > 0 or time.monotonic() - self.last < self.every:
            return
        assert isinstance(pl_module, Training)
        part = self.place / ".checkpoint.part"
        trainer.save_checkpoint(part)
        records.keep_checkpoint(self.place, pl_module.step, part)
        self.last = time.monotonic()
