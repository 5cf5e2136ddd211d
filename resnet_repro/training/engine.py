"""The eager engine: advances one run by many steps, on any device. It is the reference for every other engine.

The way from one step to another is cut into pieces within which the epoch and the learning rate stay the same. What a
step needs beside its network (which batch, which step, which rate) lies on the device, so that a step is the same
instructions every time and never waits: the graph engine (graph.py) records it once and replays it.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from resnet_repro.config import Run
from resnet_repro.data import Draws, Images, epoch_draws, fit_transform, steps_per_epoch
from resnet_repro.training import parallel
from resnet_repro.training.schedule import pieces
from resnet_repro.training.step import Tally, train_step

TURN = 10
"""Steps after which a run lets the others of its pack take theirs."""


class Eager:
    """Everything a run needs to take its next step; its only state is net, optimiser and tally.

    Batches, crops and flips of an epoch are drawn from (seed, epoch), so a run continues from any step.
    """

    def __init__(
        self,
        run: Run,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        images: Images,
        backward: Callable[[Tensor], None] = Tensor.backward,
    ) -> None:
        self.run, self.optimizer, self.backward = run, optimizer, backward
        self.net = compiled(net) if run.env.compile else net
        self.device = next(net.parameters()).device
        self.transform = fit_transform(
            images.train_x,
            normalize=run.data.normalize,
            pad=run.data.pad,
            crop_padding=run.data.crop_padding,
            memory_format=torch.channels_last if run.env.channels_last else torch.contiguous_format,
        ).to(self.device)
        self.crops = self.transform.prepare(images.train_x.to(self.device))
        self.labels = images.train_y.to(self.device)
        self.tally = Tally(self.device)
        self.rate = torch.zeros((), device=self.device)
        for group in optimizer.param_groups:
            group["lr"] = self.rate
        self.epoch_steps = steps_per_epoch(len(images.train_y), run.optim.batch, run.data.last_batch)
        self.epoch = 0
        self.draws = Draws(*(part.to(self.device) for part in self._drawn(0)))
        self.full_steps, self.rows = self._rows()
        self.row = torch.zeros(1, dtype=torch.int64, device=self.device)

    def _rows(self) -> tuple[int, Draws]:
        """The number of whole batches in an epoch, and views [batches, this rank's images] of their draws."""
        batch = self.run.optim.batch
        full = len(self.labels) // batch
        own = parallel.local_slice(slice(0, batch))
        return full, Draws(*(part[: full * batch].view(full, batch)[:, own] for part in self.draws))

    def advance(self, start: int, stop: int, warm_until: int) -> None:
        """Takes the steps start, ..., stop - 1."""
        for _ in self.turns(start, stop, warm_until):
            pass

    def turns(self, start: int, stop: int, warm_until: int) -> Iterator[None]:
        """Takes the same steps, TURN at a time: between two turns the other runs of a pack take theirs."""
        for piece in pieces(start, stop, self.run.optim, warm_until, self.epoch_steps):
            epoch, row = divmod(piece.start, self.epoch_steps)
            self._begin_epoch(epoch)
            self.row.fill_(row)
            self.rate.fill_(piece.lr)
            self.tally.step.fill_(piece.start)
            whole = min(piece.steps, self.full_steps - row)
            for done in range(0, whole, TURN):
                self._take(min(TURN, whole - done))
                yield
            if whole < piece.steps:
                self._step(Draws(*(part[self.full_steps * self.run.optim.batch :] for part in self.draws)))

    def _take(self, steps: int) -> None:
        """Takes steps on the next whole batches."""
        for _ in range(steps):
            self._step_of_row()

    def _step_of_row(self) -> None:
        self._step(Draws(*(part.index_select(0, self.row).squeeze(0) for part in self.rows)))
        self.row += 1

    def _step(self, batch: Draws) -> None:
        optim = self.run.optim
        images = self.transform.augment(self.crops, *batch)
        labels = self.labels[batch.order]
        loss, logits = train_step(
            self.net, self.optimizer, images, labels,
            bf16=optim.precision == "bf16", clip=optim.clip, backward=self.backward,
        )  # fmt: skip
        self.tally.add(loss, logits, labels)

    def _begin_epoch(self, epoch: int) -> None:
        if self.epoch == epoch:
            return
        for place, part in zip(self.draws, self._drawn(epoch), strict=True):
            # Only a copy from pinned memory lets the host go on at once.
            place.copy_(part.pin_memory() if self.device.type == "cuda" else part, non_blocking=True)
        self.epoch = epoch

    def _drawn(self, epoch: int) -> Draws:
        data = self.run.data
        return epoch_draws(self.run.seed, epoch, count=len(self.labels), crop_padding=data.crop_padding, flip=data.flip)


def round_robin(going: Sequence[Iterator[None]]) -> None:
    """Has each of the runs take a turn, again and again, until none is left."""
    while going:
        going = [turns for turns in going if take_turn(turns)]


def take_turn(turns: Iterator[None]) -> bool:
    """Has a turn taken; False when there was none left."""
    return next(turns, turns) is not turns


def compiled(net: nn.Module) -> nn.Module:
    """A network of the same layers and parameters whose blocks go through torch.compile, one kind of block once.

    `net` itself stays as it is, so measurements need no compilation of their own.
    """
    torch._dynamo.config.recompile_limit = 1000  # every depth, width, norm and λ of a pack has its own kinds of block
    other = copy.copy(net)
    other._modules = dict(net._modules)
    blocks: Any = [torch.compile(block) for block in net.blocks]  # type: ignore[union-attr]
    other.blocks = nn.Sequential(*blocks)
    return other


def optimizer(run: Run, net: nn.Module) -> torch.optim.SGD:
    """SGD with momentum; weight decay on all parameters or on the convolution and linear weights only."""
    optim = run.optim
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": optim.weight_decay},
        {"params": others, "weight_decay": optim.weight_decay if optim.decay_on == "all" else 0.0},
    ]
    return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, nesterov=optim.nesterov, fused=True)
