"""The scale s of the residual branch, y = s F(x) + λ x: what keeps deep residual nets without norm from exploding."""

import torch
from torch import Tensor, nn

from resnet_repro.nets.checks import check_choice

BRANCH_SCALES = ("one", "half", "rsqrt_blocks", "skipinit", "learned")


class Scale(nn.Module):
    """s y, with one number s for all channels, images and pixels; a parameter if `learned`."""

    def __init__(self, start: float, learned: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(start)) if learned else start

    def forward(self, y: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return self.scale * y


def make_branch_scale(branch_scale: str, blocks: int) -> nn.Module:
    """Return what the end of each residual branch of a network of so many `blocks` is multiplied by.

    Without norm, branch and shortcut each bring about the variance of the block's input, so that it grows as 2^blocks;
    with batch norm the branch brings 1, and it grows as the number of blocks (De and Smith 2020, arXiv:2002.10444;
    Zhang et al. 2019, arXiv:1901.09321).

    one: s = 1 (He et al. 2015).
    half: s = 1/2, as with λ = 1/2 in He et al. 2016 (arXiv:1603.05027, table 1, "constant scaling").
    rsqrt_blocks: s = blocks^-1/2, fixed: the variance grows by about (1 + 1 / blocks)^blocks < e (De and Smith).
    skipinit: s is a parameter of each block that starts at 0, so that every block starts as its shortcut (SkipInit,
        De and Smith). The network has that many parameters more.
    learned: the same from 1 (the multiplier of Fixup, Zhang et al. 2019, section 2, rule 3; see init "fixup").

    Raises ValueError for an unknown scale.
    """
    check_choice("branch_scale", branch_scale, BRANCH_SCALES)
    if branch_scale == "one":
        return nn.Identity()
    start = {"half": 0.5, "rsqrt_blocks": blocks**-0.5, "skipinit": 0.0, "learned": 1.0}[branch_scale]
    return Scale(start, learned=branch_scale in ("skipinit", "learned"))
