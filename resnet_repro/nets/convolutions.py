"""The convolution that goes with each norm: with a bias, without one, or with standardised weights."""

from torch import Tensor, nn

from resnet_repro.families import BARE

EPSILON = 1e-10
"""Below the root of a variance, so that a kernel of zeros stays one."""


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose weights are standardised in each forward pass (Qiao et al. 2019, arXiv:1903.10520).

    Of the weights of each output channel, over all its input channels and taps, the mean is taken away, and what is
    left is divided by its deviation. Gradients pass through both. `weight` is what is trained, before that.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, out_channels, ...], as `nn.Conv2d` with the standardised weights."""
        mean = self.weight.mean(dim=(1, 2, 3), keepdim=True)
        variance = self.weight.var(dim=(1, 2, 3), correction=0, keepdim=True)
        return self._conv_forward(x, (self.weight - mean) * (variance + EPSILON).rsqrt(), self.bias)


def make_conv(
    norm: str, in_channels: int, channels: int, kernel: int, *, stride: int = 1, padding: int = 0
) -> nn.Conv2d:
    """Return the convolution that goes with `norm` (see `make_norm`).

    It has a bias with norms "none" and "none_noisy" only, since every other norm has one of its own, and standardised
    weights with norm "group_ws". Raises ValueError where these would be one weight, standardised to 0.
    """
    if norm != "group_ws":
        return nn.Conv2d(in_channels, channels, kernel, stride, padding, bias=norm in BARE)
    if in_channels * kernel**2 == 1:
        raise ValueError("norm 'group_ws' makes the one weight of a 1x1 convolution of one channel 0: choose width 2")
    return StandardizedConv2d(in_channels, channels, kernel, stride, padding, bias=False)
