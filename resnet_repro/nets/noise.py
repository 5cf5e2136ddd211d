"""Noise behind a norm whose distribution is another one in every step (Santurkar et al. 2018, section 2.2)."""

import math

import torch
from torch import Tensor, nn

MEAN, SCALE = 0.5, 1.25
"""A channel's mean lies in [-MEAN, MEAN], its scale in [1, SCALE]."""
MEAN_SPREAD, SCALE_SPREAD = 0.1, 0.1
"""How far an image's shift and scale lie from those of the channel."""
WORD = 2**32 - 1
"""The largest word of 32 bits."""


class Noise(nn.Module):
    """Shift and scale of each channel of each image, drawn anew in each step: [N, C, H, W] -> [N, C, H, W].

    The idea is that of the paper (arXiv:1805.11604, section 2.2): noise of a distribution that is another one in each
    step. Its appendix was not at hand, so the distributions and their four constants are ours. In a step every channel
    draws mean ~ U(-0.5, 0.5) and scale ~ U(1, 1.25); then every image draws for every channel
    m ~ U(mean - 0.1, mean + 0.1) and s ~ N(scale, 0.1), 0.1 a standard deviation, and x becomes s x + m. Evaluation
    mode has the expectations, 1.125 x.

    A draw is a hash of (`key`, `steps`, its number), so it depends on nothing else that is random, a CUDA graph can
    hold it, and a run that goes on from a checkpoint, which has both buffers, goes on to the same bits. `key` is 0
    until `draw_keys`. Each forward pass in training mode is a step.
    """

    key: Tensor
    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("key", torch.zeros((), dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Return s x + m, in evaluation mode with the expectations of s and m."""
        if not self.training:
            return x * ((1 + SCALE) / 2)
        shift, scale = self.draw(x.shape[0], x.shape[1])
        self.steps += 1
        return x * scale.to(x.dtype)[:, :, None, None] + shift.to(x.dtype)[:, :, None, None]

    def draw(self, images: int, channels: int) -> tuple[Tensor, Tensor]:
        """The shifts m and the scales s of this step, float32 [images, channels] each."""
        uniform = self._uniform(2 * channels + 3 * images * channels)
        mean, scale = uniform[: 2 * channels].view(2, channels)
        own, radius, angle = uniform[2 * channels :].view(3, images, channels)
        normal = (-2 * radius.log()).sqrt() * (2 * math.pi * angle).cos()  # Box & Muller 1958
        shift = MEAN * (2 * mean - 1) + MEAN_SPREAD * (2 * own - 1)
        return shift, 1 + (SCALE - 1) * scale + SCALE_SPREAD * normal

    def _uniform(self, count: int) -> Tensor:
        """float32 [count] in (0, 1)."""
        numbers = torch.arange(count, device=self.key.device)
        words = _hashed(_hashed(_hashed(self.key) ^ self.steps) ^ _hashed(numbers))
        return ((words >> 9) + 0.5).to(torch.float32) * 2.0**-23  # 23 bits, and a half, are exact


class NoisyBatchNorm2d(nn.BatchNorm2d):
    """Batch norm, with its scale and shift, and noise behind them: the "noisy" batch norm of the paper."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.noise = Noise()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]; each as in its own mode."""
        return self.noise(super().forward(x))


def draw_keys(net: nn.Module, generator: torch.Generator) -> None:
    """Give every `Noise` of `net`, in their order, a key from `generator`, so that they differ by layer and seed."""
    for module in net.modules():
        if isinstance(module, Noise):
            module.key.copy_(torch.randint(WORD + 1, (), generator=generator, device="cpu"))


def _hashed(words: Tensor) -> Tensor:
    """A permutation of the int64 `words` in [0, 2^32): shifts and products, which never leave int64."""
    words = words ^ (words >> 16)
    words = words * 0x7FEB352D & WORD
    words = words ^ (words >> 15)
    words = words * 0x21F0AAAD & WORD
    return words ^ (words >> 15)
