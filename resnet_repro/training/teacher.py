"""Labels that a network of a known size can give: the answers of a trained plain net (`data.teacher`)."""

from dataclasses import replace

import torch
from torch import Tensor

from resnet_repro.config import Model, Probes, Run
from resnet_repro.data import Images
from resnet_repro.data.batches import mixed
from resnet_repro.training.engine import Eager, optimizer
from resnet_repro.training.fit import set_up
from resnet_repro.training.network import build
from resnet_repro.training.schedule import warmup_end

TEACHER = -5
"""What makes the teacher's seed differ from the run's, and from the draws of its images (data/drawn.py)."""


def teacher(run: Run) -> Run:
    """The run that trains the teacher of a run: runs of one seed and optimisation have one and the same.

    It is a plain net of `data.teacher` layers with batch norm, as wide as the run's network, and trained on the true
    labels as the run is, from a seed of its own; a warm-up takes all its steps.
    """
    model = Model(run.data.teacher or 0, residual=False, width=run.model.width)
    return replace(run, model=model, probes=Probes(), seed=mixed(run.seed, TEACHER))


def taught(by: Run, images: Images) -> Images:
    """The images with the answers of a teacher, trained here, for labels: training, validation and test set.

    by: as `teacher` gives it. An answer is the class with the largest output for the clean image, in evaluation mode:
    so a plain net of that depth can have an error of 0, and every network that contains one. It is trained on the run's
    device by the eager engine, and anew when a run goes on.
    """
    engine = _trained(by, images)
    train, test = _answers(engine, "train"), _answers(engine, "test")
    valid = None if images.valid_x is None else _answers(engine, "valid")
    return replace(images, train_y=train, test_y=test, valid_y=valid)


def _trained(run: Run, images: Images) -> Eager:
    net = build(run, images).to(set_up(run)).train()
    engine = Eager(run, net, optimizer(run, net), images)
    engine.advance(0, run.optim.steps, warmup_end(run.optim))
    return engine


@torch.no_grad()
def _answers(engine: Eager, part: str) -> Tensor:
    engine.net.eval()
    return torch.cat([engine.net(images).argmax(1) for images, _ in engine.feed.clean(part)()]).cpu()
