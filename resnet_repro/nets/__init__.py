"""The networks: plain PyTorch, nothing else of this project imported.

Torch is imported with the first network asked for, so that planning can read the table of families without it.
"""

from typing import TYPE_CHECKING, Any

from resnet_repro.nets.families import FAMILIES

if TYPE_CHECKING:
    from resnet_repro.nets.cifar import CifarNet
    from resnet_repro.nets.imagenet import ImageNet

__all__ = ["FAMILIES", "CifarNet", "ImageNet"]


def __getattr__(name: str) -> Any:
    if name == "CifarNet":
        from resnet_repro.nets.cifar import CifarNet

        return CifarNet
    if name == "ImageNet":
        from resnet_repro.nets.imagenet import ImageNet

        return ImageNet
    raise AttributeError(f"module {__name__} has no attribute {name!r}")
