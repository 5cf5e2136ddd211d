"""Crop, mirror and normalise batches of uint8 images on the device they are on."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet_repro.errors import UserError

NORMALIZE = ("channel", "pixel_mean", "none")
PAD = ("before", "after")


@dataclass(frozen=True, eq=False)
class Transform:
    """Turns uint8 images into network input (x / 255 - mean) / std; made by `fit_transform`.

    shift: float32 [C, 1, 1] or [C, H, W], 255 * mean; scale: float32 [C, 1, 1], 1 / (255 * std).
    shift_at: float32 [K, K, C, H, W], the shift at each crop position, K = 2 * crop_padding + 1, if images are padded
    after normalisation; None if before. No call waits for the device, so batches can be made inside a CUDA graph.
    """

    shift: Tensor
    scale: Tensor
    shift_at: Tensor | None
    crop_padding: int
    memory_format: torch.memory_format

    def to(self, device: torch.device | str) -> "Transform":
        """The same transform for images on `device`."""
        shift_at = None if self.shift_at is None else self.shift_at.to(device)
        return replace(self, shift=self.shift.to(device), scale=self.scale.to(device), shift_at=shift_at)

    def prepare(self, images: Tensor) -> Tensor:
        """All crops of uint8 [N, C, H, W] as a view [N, K, K, C, H, W] of the zero-padded images, for `augment`."""
        p = self.crop_padding
        padded = F.pad(images, (p, p, p, p)).contiguous(memory_format=self.memory_format)
        return _crops(padded, p)

    def augment(self, crops: Tensor, index: Tensor, dy: Tensor, dx: Tensor, flip: Tensor) -> Tensor:
        """float32 [B, C, H, W]: of the prepared images `index`, the crops at (dy, dx), mirrored where `flip`.

        index, dy, dx: int64 [B]; flip: bool [B]; all on the device of `crops`.
        """
        return self.normalized(_mirror(crops[index, dy, dx], flip), dy, dx, flip)

    def normalized(self, x: Tensor, dy: Tensor, dx: Tensor, flip: Tensor) -> Tensor:
        """float32 [B, C, H, W]: of uint8 crops that were taken at (dy, dx) and mirrored where `flip`."""
        shift = self.shift if self.shift_at is None else _mirror(self.shift_at[dy, dx], flip)
        return self._normalize(x, shift)

    def clean(self, images: Tensor) -> Tensor:
        """float32 [B, C, H, W]: uint8 images normalised only, as He et al. test ("single view")."""
        return self._normalize(images, self.shift)

    def _normalize(self, x: Tensor, shift: Tensor) -> Tensor:
        return x.to(torch.float32, memory_format=self.memory_format).sub_(shift).mul_(self.scale)


def fit_transform(
    train_x: Tensor,
    *,
    normalize: str,
    pad: str = "before",
    crop_padding: int,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Transform:
    """The transform with the statistics of the training images uint8 [N, C, H, W] (after the split).

    normalize "channel": mean and standard deviation of each channel; "pixel_mean": mean image subtracted, scale 0..1
    kept (He et al. 2015, Sec. 4.2, states no division); "none": 0..1.
    pad "before": images are padded by black pixels, then normalised (tensorpack, torchvision's usual order); a mean
    image is subtracted at the crop's own coordinates. pad "after": normalised images are padded by zeros, so by the
    mean colour (FAIR's fb.resnet.torch), and a mean image moves with the crop. He et al. do not say which; the
    default is "before". Raises ValueError for unknown names, negative padding and channels without variance.
    """
    if normalize not in NORMALIZE:
        raise ValueError(f"normalize is {normalize!r}; it must be one of {', '.join(NORMALIZE)}")
    if pad not in PAD:
        raise ValueError(f"pad is {pad!r}; it must be one of {', '.join(PAD)}")
    if crop_padding < 0:
        raise ValueError(f"crop_padding is {crop_padding}; it must be 0 (no crops) or more")
    mean, std = statistics(train_x, normalize)
    shift, scale = (255 * mean).float(), (1 / (255 * std)).float()
    shift_at = _shift_at(shift, train_x, crop_padding) if pad == "after" else None
    return Transform(shift, scale, shift_at, crop_padding, memory_format)


def statistics(train_x: Tensor, normalize: str) -> tuple[Tensor, Tensor]:
    """Mean, float64 [C, 1, 1] or [C, H, W], and std, [C, 1, 1], of pixels in 0..1; std over all N * H * W values."""
    channels = train_x.shape[1]
    one = torch.ones(channels, 1, 1, dtype=torch.float64, device=train_x.device)
    if normalize == "none":
        return torch.zeros_like(one), one
    if normalize == "pixel_mean":
        total = sum(part.sum(0, dtype=torch.int32) for part in train_x.split(1000))  # 60 times faster than at once
        return total.double() / (255 * len(train_x)), one
    levels = torch.arange(256, dtype=torch.float64, device=train_x.device) / 255
    share = torch.stack([torch.bincount(train_x[:, c].flatten(), minlength=256) for c in range(channels)]).double()
    share /= share.sum(1, keepdim=True)
    mean = share @ levels
    variance = (share * (levels - mean[:, None]) ** 2).sum(1)
    if bool((variance == 0).any()):
        raise UserError("a channel has one value in all training images and no deviation; use normalize=none")
    return mean[:, None, None], variance.sqrt()[:, None, None]


def _shift_at(shift: Tensor, images: Tensor, padding: int) -> Tensor:
    # Zero in the border, where the padded image is zero as well: their difference is the zero padded after.
    padded = F.pad(shift.expand(images.shape[1:]), (padding,) * 4)
    return _crops(padded[None], padding)[0]


def _crops(padded: Tensor, padding: int) -> Tensor:
    """View [N, K, K, C, H, W] of all crops of [N, C, H + 2 * padding, W + 2 * padding]."""
    height, width = (size - 2 * padding for size in padded.shape[2:])
    return padded.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)


def _mirror(x: Tensor, flip: Tensor) -> Tensor:
    return torch.where(flip[:, None, None, None], x.flip(-1), x)
