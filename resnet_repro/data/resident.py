"""A data set that lies on the device whole, as uint8: no batch waits for the host."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from resnet_repro.data.batches import Draws, epoch_draws, local_slice, steps_per_epoch
from resnet_repro.data.feed import Batch, Batches, measured, of_measured
from resnet_repro.data.sets import Images, shrunk
from resnet_repro.data.transform import Transform

AT_ONCE = {"cpu": 500, "cuda": 2500}
"""Images measured at once: on a CPU what stays in its cache, on a GPU few launches."""


class Resident:
    """A `Feed` of images on a device.

    Which batch is next lies on the device too, in `row`, so that `next` is the same instructions every time and never
    waits: a CUDA graph can hold it. size: to which the images are averaged down, if any; for the rest see `Streamed`.
    """

    def __init__(
        self,
        images: Images,
        fit: Callable[[Tensor], Transform],
        *,
        size: int | None = None,
        device: torch.device,
        seed: int,
        batch: int,
        flip: bool,
        last_batch: str = "drop",
        train_error_images: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        images = shrunk(images, size)
        self.images, self.transform, self.device = images, fit(images.train_x).to(device), device
        self.seed, self.flip, self.batch = seed, flip, batch
        self.crops = self.transform.prepare(images.train_x.to(device))
        self.labels = images.train_y.to(device)
        self.measured = measured(len(self.labels), train_error_images)
        self.train_y = images.train_y if self.measured is None else images.train_y[self.measured]
        self.epoch_steps = steps_per_epoch(len(self.labels), batch, last_batch)
        self.full_steps = len(self.labels) // batch
        self.epoch = 0
        self.draws = Draws(*(part.to(device) for part in self._drawn(0)))
        own = local_slice(batch, rank, world_size)
        whole = [part[: self.full_steps * batch].view(self.full_steps, batch) for part in self.draws]
        self.rows = Draws(*(part[:, own] for part in whole))
        self.row = torch.zeros(1, dtype=torch.int64, device=device)

    def seek(self, step: int) -> None:
        epoch, row = divmod(step, self.epoch_steps)
        self.row.fill_(row)
        if epoch == self.epoch:
            return
        for place, part in zip(self.draws, self._drawn(epoch), strict=True):
            # Only a copy from pinned memory lets the host go on at once.
            place.copy_(part.pin_memory() if self.device.type == "cuda" else part, non_blocking=True)
        self.epoch = epoch

    def next(self) -> Batch:
        batch = self._cropped(Draws(*(part.index_select(0, self.row).squeeze(0) for part in self.rows)))
        self.row += 1
        return batch

    def rest(self) -> Batch:
        return self._cropped(Draws(*(part[self.full_steps * self.batch :] for part in self.draws)))

    def clean(self, part: str, batch: int | None = None) -> Batches:
        images, labels = getattr(self.images, f"{part}_x"), getattr(self.images, f"{part}_y")
        if part == "train" and self.measured is not None:
            images, labels = images[self.measured], labels[self.measured]
        return clean_batches(self.transform, images, labels, self.device, batch)

    def augmented(self, epoch: int) -> Batches:
        drawn = of_measured(self._drawn(epoch), self.measured)
        draws = Draws(*(part.to(self.device) for part in drawn))
        size = AT_ONCE[self.device.type]

        def one_pass() -> Iterator[Batch]:
            for start in range(0, len(draws.order), size):
                yield self._cropped(Draws(*(part[start : start + size] for part in draws)))

        return one_pass

    def _cropped(self, draws: Draws) -> Batch:
        return self.transform.augment(self.crops, *draws), self.labels[draws.order]

    def _drawn(self, epoch: int) -> Draws:
        padding = self.transform.crop_padding
        return epoch_draws(self.seed, epoch, count=len(self.labels), crop_padding=padding, flip=self.flip)


def clean_batches(
    transform: Transform, images: Tensor, labels: Tensor, device: torch.device, batch: int | None = None
) -> Batches:
    """Passes over uint8 images in their order, normalised and not augmented; they are moved to the device once."""
    images, labels, size = images.to(device), labels.to(device), batch or AT_ONCE[device.type]

    def one_pass() -> Iterator[Batch]:
        for start in range(0, len(labels), size):
            yield transform.clean(images[start : start + size]), labels[start : start + size]

    return one_pass
