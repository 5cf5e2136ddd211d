"""A data set that is read from its files batch by batch, in worker processes (torch.utils.data.DataLoader)."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resnet_repro.data.batches import Draws, batch_slice, epoch_draws, local_slice, steps_per_epoch
from resnet_repro.data.feed import Batch, Batches, check_size, measured, of_measured
from resnet_repro.data.sets import ImageFiles
from resnet_repro.data.transform import Transform
from resnet_repro.data.views import Draw, View
from resnet_repro.sources.decoding import Unusable, decode_one, refused

AT_ONCE = {"cpu": 100, "cuda": 500}
"""Images measured at once: fewer than of a resident set, since they are larger."""
FITTED = 2000
"""Training images, as evaluation sees them, that pixels' statistics are taken over; a smaller set is used whole."""


class Streamed:
    """A `Feed` of files, each decoded when it is due, with the same draws as `Resident`.

    A batch depends on (seed, epoch, indices) alone, never on how many workers there are or what they have done before.

    view: how images are cropped. fit: from training images to their transform. seed, flip, last_batch: of the run.
    batch: images of a step over all ranks. train_error_images: see `measured`. rank, world_size: which share of a batch
    is this process's. workers: processes that decode, at most one per core; 0: this one.
    Raises UserError for files that cannot be decoded or do not have one size when they should, as soon as one is due.
    """

    def __init__(
        self,
        files: ImageFiles,
        view: View,
        fit: Callable[[Tensor], Transform],
        *,
        device: torch.device,
        seed: int,
        batch: int,
        flip: bool,
        last_batch: str = "drop",
        train_error_images: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
    ) -> None:
        self.files, self.view, self.device = files, view, device
        self.seed, self.flip, self.batch, self.rank, self.world_size = seed, flip, batch, rank, world_size
        self.workers = min(workers, len(os.sched_getaffinity(0)))
        labels = files.train_y
        self.measured = measured(len(labels), train_error_images)
        self.train_y = labels if self.measured is None else labels[self.measured]
        self.epoch_steps = steps_per_epoch(len(labels), batch, last_batch)
        self.full_steps = len(labels) // batch
        self.transform = fit(self._sample()).to(device)
        self.at: int | None = None

    def _sample(self) -> Tensor:
        """uint8 [N, 3, H, W]: the training images that statistics are taken over."""
        chosen = measured(len(self.files.train_y), FITTED)
        index = torch.arange(len(self.files.train_y)) if chosen is None else chosen
        sample = torch.cat([images for images, _ in self._read("train", _cut(index.tolist(), AT_ONCE["cpu"]))])
        check_size(sample, self.view.size)
        return sample

    def seek(self, step: int) -> None:
        if step != self.at:
            self.stream = iter(self._read("train", _Steps(self, step)))
        self.at = step

    def next(self) -> Batch:
        assert self.at is not None
        images, items = next(self.stream)
        self.at += 1
        return self._augmented(images, items)

    rest = next

    def clean(self, part: str, batch: int | None = None) -> Batches:
        labels = getattr(self.files, f"{part}_y")
        index = torch.arange(len(labels)) if part != "train" or self.measured is None else self.measured

        def one_pass() -> Iterator[Batch]:
            for images, items in self._read(part, _cut(index.tolist(), batch or AT_ONCE[self.device.type])):
                yield self.transform.clean(images.to(self.device)), labels[items].to(self.device)

        return one_pass

    def augmented(self, epoch: int) -> Batches:
        drawn = of_measured(self._drawn(epoch), self.measured)

        def one_pass() -> Iterator[Batch]:
            for images, items in self._read("train", _cut(_items(epoch, drawn), AT_ONCE[self.device.type])):
                yield self._augmented(images, items)

        return one_pass

    def _augmented(self, images: Tensor, items: Sequence[Draw]) -> Batch:
        _, index, dy, dx, flip = (torch.tensor(column) for column in zip(*items, strict=True))
        images, dy, dx, flip = (part.to(self.device, non_blocking=True) for part in (images, dy, dx, flip))
        return self.transform.normalized(images, dy, dx, flip), self.files.train_y[index].to(self.device)

    def _drawn(self, epoch: int) -> Draws:
        counted = len(self.files.train_y)
        return epoch_draws(self.seed, epoch, count=counted, crop_padding=self.view.padding, flip=self.flip)

    def _read(self, part: str, batches: Iterable[Sequence[Any]]) -> Iterator[tuple[Tensor, Sequence[Any]]]:
        """The images of each batch of items, uint8 [N, 3, H, W], with their items."""
        loader = DataLoader(
            _Decoded(self.files.folder, getattr(self.files, part), self.view),
            batch_sampler=batches,  # type: ignore[arg-type]
            num_workers=self.workers,
            collate_fn=_together,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else the loader would draw a number from the global one
            multiprocessing_context=_processes() if self.workers else None,
        )
        for images, items, faults in loader:
            if faults:
                raise refused(faults, len(items), self.files.folder)
            yield images, items


class _Steps:
    """Without end, the draws of this rank's share of the batch of a step and of those after it."""

    def __init__(self, feed: Streamed, start: int) -> None:
        self.feed, self.start = feed, start

    def __iter__(self) -> Iterator[list[Draw]]:
        feed, epoch = self.feed, -1
        for step in count(self.start):
            if step // feed.epoch_steps != epoch:
                epoch = step // feed.epoch_steps
                drawn = feed._drawn(epoch)
            items = _items(epoch, Draws(*(part[batch_slice(step % feed.epoch_steps, feed.batch)] for part in drawn)))
            yield items[local_slice(len(items), feed.rank, feed.world_size)]


def _items(epoch: int, draws: Draws) -> list[Draw]:
    return [Draw(epoch, *one) for one in zip(*(part.tolist() for part in draws), strict=True)]


def _cut(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


class _Decoded(Dataset[Any]):
    """An image by its item, a `Draw` or an index in evaluation: (view or what is wrong with the file, path, item)."""

    def __init__(self, folder: Path, paths: np.ndarray, view: View) -> None:
        self.folder, self.paths, self.view = folder, paths, view

    def __getitem__(self, item: Draw | int) -> tuple[Tensor | str, str, Draw | int]:
        path = os.path.join(self.folder, os.fsdecode(self.paths[item.image if isinstance(item, Draw) else item]))
        try:
            image = torch.from_numpy(decode_one(path).transpose(2, 0, 1).copy())
        except Unusable as error:
            return str(error), path, item
        return self.view.train(image, item) if isinstance(item, Draw) else self.view.clean(image), path, item


def _together(read: Sequence[tuple[Tensor | str, str, Any]]) -> tuple[Tensor, list[Any], dict[str, str]]:
    """The views of a batch as one tensor, their items, and what is wrong with which file."""
    faults = {path: view for view, path, _ in read if isinstance(view, str)}
    views = [(view, path) for view, path, _ in read if isinstance(view, Tensor)]
    for view, path in views:
        (height, width), (first_height, first_width) = view.shape[1:], views[0][0].shape[1:]
        if (height, width) != (first_height, first_width):
            faults[path] = f"has {width}x{height} pixels, another {first_width}x{first_height}: use data.crop=resized"
    images = torch.empty(0) if faults else torch.stack([view for view, _ in views])
    return images, [item for _, _, item in read], faults


def _processes() -> Any:
    """Where worker processes come from: a server without threads or CUDA, that has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context
