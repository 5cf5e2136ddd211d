"""The eager engine: advances one run by many steps, on any device. It is the reference for every other engine."""

import torch
from torch import nn

from resnet_repro.config import Run
from resnet_repro.data import Draws, Images, batch_slice, epoch_draws, fit_transform, steps_per_epoch
from resnet_repro.training import parallel
from resnet_repro.training.schedule import learning_rate
from resnet_repro.training.step import Tally, train_step


class Eager:
    """Everything a run needs to take its next step; its only state is net, optimiser and tally.

    Batches, crops and flips of an epoch are drawn from (seed, epoch), so a run continues from any step.
    """

    def __init__(self, run: Run, net: nn.Module, optimizer: torch.optim.Optimizer, images: Images) -> None:
        self.run, self.net, self.optimizer = run, parallel.spread(net), optimizer
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
        self.epoch_steps = steps_per_epoch(len(images.train_y), run.optim.batch, run.data.last_batch)
        self._drawn: tuple[int, Draws] | None = None

    def advance(self, start: int, stop: int, warm_until: int) -> None:
        """Takes the steps start, ..., stop - 1."""
        optim = self.run.optim
        for step in range(start, stop):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(step, optim, warm_until)
            draws = self._draws(step // self.epoch_steps)
            batch = parallel.share(batch_slice(step % self.epoch_steps, optim.batch))
            index = draws.order[batch]
            images = self.transform.augment(self.crops, index, draws.dy[batch], draws.dx[batch], draws.flip[batch])
            labels = self.labels[index]
            loss, logits = train_step(
                self.net, self.optimizer, images, labels, bf16=optim.precision == "bf16", clip=optim.clip
            )
            self.tally.add(step, loss, logits, labels)

    def _draws(self, epoch: int) -> Draws:
        if self._drawn is None or self._drawn[0] != epoch:
            data = self.run.data
            drawn = epoch_draws(
                self.run.seed, epoch, count=len(self.labels), crop_padding=data.crop_padding, flip=data.flip
            )
            self._drawn = (epoch, Draws(*(part.to(self.device) for part in drawn)))
        return self._drawn[1]


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
