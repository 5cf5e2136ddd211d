"""The eager engine: advances one run by many steps, on any device. It is the reference for every other engine.

The way from one step to another is cut into pieces within which the epoch and the learning rate stay the same. What a
step needs beside its network (which batch, which step, which rate) lies on the device, so that a step is the same
instructions every time and never waits: the graph engine (graph.py) records it once and replays it.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from resnet_repro.config import Run
from resnet_repro.data import DataSet, Feed, Images, Resident, fit_transform
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
        images: DataSet,
        backward: Callable[[Tensor], None] = Tensor.backward,
    ) -> None:
        self.run, self.optimizer, self.backward = run, optimizer, backward
        self.net = compiled(net) if run.env.compile else net
        self.device = next(net.parameters()).device
        self.feed = feed(run, images, self.device)
        self.tally = Tally(self.device)
        self.rate = torch.zeros((), device=self.device)
        for group in optimizer.param_groups:
            group["lr"] = self.rate

    def advance(self, start: int, stop: int, warm_until: int) -> None:
        """Takes the steps start, ..., stop - 1."""
        for _ in self.turns(start, stop, warm_until):
            pass

    def turns(self, start: int, stop: int, warm_until: int) -> Iterator[None]:
        """Takes the same steps, TURN at a time: between two turns the other runs of a pack take theirs."""
        for piece in pieces(start, stop, self.run.optim, warm_until, self.feed.epoch_steps):
            self.feed.seek(piece.start)
            self.rate.fill_(piece.lr)
            self.tally.step.fill_(piece.start)
            whole = min(piece.steps, self.feed.full_steps - piece.start % self.feed.epoch_steps)
            for done in range(0, whole, TURN):
                self._take(min(TURN, whole - done))
                yield
            if whole < piece.steps:
                self._step(*self.feed.rest())

    def _take(self, steps: int) -> None:
        """Takes steps on the next whole batches."""
        for _ in range(steps):
            self._step(*self.feed.next())

    def _step(self, images: Tensor, labels: Tensor) -> None:
        optim = self.run.optim
        loss, logits = train_step(
            self.net, self.optimizer, images, labels,
            bf16=optim.precision == "bf16", clip=optim.clip, backward=self.backward,
        )  # fmt: skip
        self.tally.add(loss, logits, labels)


def feed(run: Run, images: DataSet, device: torch.device) -> Feed:
    """Where the run's batches come from: the device, or with `data.stream` the files."""
    data, optim = run.data, run.optim
    fit = partial(
        fit_transform, normalize=data.normalize, pad=data.pad, crop_padding=data.crop_padding,
        memory_format=torch.channels_last if run.env.channels_last else torch.contiguous_format,
    )  # fmt: skip
    settings: dict[str, Any] = {
        "device": device, "seed": run.seed, "batch": optim.batch, "flip": data.flip, "last_batch": data.last_batch,
        "train_error_images": run.probes.train_error_images,
        "rank": parallel.rank(), "world_size": parallel.world_size(),
    }  # fmt: skip
    if isinstance(images, Images):
        return Resident(images, fit, size=data.size, **settings)
    from resnet_repro.data.streamed import Streamed  # torchvision, which takes a second to import
    from resnet_repro.data.views import View

    view = View(data.crop, data.size, data.resize, data.crop_padding, run.seed)
    return Streamed(images, view, fit, workers=run.env.workers, **settings)


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
