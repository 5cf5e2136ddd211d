"""Data sets as uint8 tensors; batch order, crop and flip drawn from (seed, epoch)."""

from resnet_repro.data.batches import Draws, batch_slice, epoch_draws, steps_per_epoch
from resnet_repro.data.sets import Images, load
from resnet_repro.data.transform import Transform, fit_transform, statistics
from resnet_repro.sources import MissingData

__all__ = [
    "Draws",
    "Images",
    "MissingData",
    "Transform",
    "batch_slice",
    "epoch_draws",
    "fit_transform",
    "load",
    "statistics",
    "steps_per_epoch",
]
