"""The looks that the probes of a run take at its network, while it is trained and when it is kept."""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from resnet_repro import records
from resnet_repro.config import Run
from resnet_repro.data import DataSet, Feed
from resnet_repro.probes import PROBES
from resnet_repro.probes.batch import fixed_batch
from resnet_repro.training.network import build


def due(measured: Mapping[str, int], step: int, ended: bool) -> list[str]:
    """The probes that look after this step, of those of a run, each given with the steps between its looks."""
    return [name for name, every in measured.items() if PROBES[name].due(step, every, ended)]


class Looks:
    """Takes looks at the networks of one run, on one batch; none of them changes the network, nor anything random.

    Each is taken on a copy: built as the run's network is, with the parameters and buffers of the one looked at. So
    running statistics, gradients and momentum stay as they are, and a network that is spread over ranks is looked at
    by one of them as a whole.
    """

    def __init__(self, run: Run, images: DataSet, feed: Feed, device: torch.device) -> None:
        self.run, self.images, self.device = run, images, device
        optim = run.optim
        bf16 = optim.precision == "bf16"
        self.batch = fixed_batch(feed, optim.batch, bf16=bf16, lr=optim.lr, clip=optim.clip, seed=run.seed)

    def take(self, names: Iterable[str], net: nn.Module, step: int) -> list[records.Point]:
        """What these probes measure on the network after `step` steps."""
        points: list[records.Point] = []
        for name in names:
            copy = build(self.run, self.images).to(self.device)
            copy.load_state_dict(net.state_dict())
            points += [(step, *reading) for reading in PROBES[name].measure(copy, self.batch)]
        return points
