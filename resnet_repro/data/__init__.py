"""Data sets and the batches made of them; batch order, crop and flip drawn from (seed, epoch)."""

from resnet_repro.data.batches import Draws, batch_slice, epoch_draws, local_slice, steps_per_epoch
from resnet_repro.data.drawn import drawn
from resnet_repro.data.feed import Batch, Batches, Feed
from resnet_repro.data.resident import Resident, clean_batches
from resnet_repro.data.sets import DataSet, ImageFiles, Images, load
from resnet_repro.data.transform import Transform, fit_transform, statistics
from resnet_repro.sources import MissingData

__all__ = [
    "Batch",
    "Batches",
    "DataSet",
    "Draws",
    "Feed",
    "ImageFiles",
    "Images",
    "MissingData",
    "Resident",
    "Transform",
    "batch_slice",
    "clean_batches",
    "drawn",
    "epoch_draws",
    "fit_transform",
    "load",
    "local_slice",
    "statistics",
    "steps_per_epoch",
]
