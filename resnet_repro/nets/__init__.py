"""The networks: plain PyTorch, nothing else of this project imported but the table of families."""

from resnet_repro.nets.cifar import CifarNet
from resnet_repro.nets.imagenet import ImageNet

__all__ = ["CifarNet", "ImageNet"]
