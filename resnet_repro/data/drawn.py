"""Of a training set, the part that a run is trained on, and its false labels: both drawn from the run's seed."""

from dataclasses import replace

import torch
from torch import Tensor

from resnet_repro.data.batches import mixed
from resnet_repro.data.sets import DataSet, Images
from resnet_repro.errors import UserError

IMAGES, LABELS = -3, -4
"""What makes the two draws differ from those of an epoch; epochs of training and of measurements go down to -2."""


def drawn(data: DataSet, images: int | None, label_noise: float, seed: int) -> DataSet:
    """The data set with `images` of its training images, as many of each class, and a share of false training labels.

    images: None for all. Classes differ by one image where their number does not divide `images`; of one seed the
    images of a smaller part lie within every larger one. label_noise: this share of the labels of what is trained on,
    rounded to whole images, is another class, each other one equally likely (Zhang et al. 2017, arXiv:1611.03530,
    section 2.2, "partially corrupted labels", who draw from all classes). Labels of validation and test set stay true.
    Networks of one seed get the same images with the same labels. Raises UserError where a class has too few images.
    """
    if images is not None:
        chosen = balanced(data.train_y, images, seed)
        labels = data.train_y[chosen]
        data = (
            replace(data, train_x=data.train_x[chosen], train_y=labels)
            if isinstance(data, Images)
            else replace(data, train=data.train[chosen.numpy()], train_y=labels)
        )
    return data if label_noise == 0 else replace(data, train_y=noisy(data.train_y, label_noise, data.classes, seed))


def balanced(labels: Tensor, images: int, seed: int) -> Tensor:
    """int64 [images], rising: which of the images with these labels [N] are drawn, as many of each class."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(mixed(seed, IMAGES)))
    shuffled = labels[order]
    by_class = shuffled.argsort(stable=True)
    counts = shuffled.bincount()
    place = torch.empty_like(order)  # of an image among those of its class, in the order drawn
    place[by_class] = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[shuffled[by_class]]
    fewest, most = int(counts.min()), int(counts.min()) * len(counts)
    if images > most:
        raise UserError(
            f"data.images is {images}, as many of each class, and a class has {fewest} training images only: "
            f"use at most {most}, or null for all there are"
        )
    return order[place.argsort(stable=True)[:images]].sort().values


def noisy(labels: Tensor, share: float, classes: int, seed: int) -> Tensor:
    """The labels int64 [N] with round(share N) of them, drawn at random, replaced by another class."""
    generator = torch.Generator().manual_seed(mixed(seed, LABELS))
    order = torch.randperm(len(labels), generator=generator)
    steps = torch.randint(1, classes, (len(labels),), generator=generator)
    wrong = order[: round(share * len(labels))]
    given = labels.clone()
    given[wrong] = (labels[wrong] + steps[wrong]) % classes
    return given
