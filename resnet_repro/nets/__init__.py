"""The networks: plain PyTorch, nothing else of this project imported but the table of families."""

from resnet_repro.nets.cifar import CifarNet
from resnet_repro.nets.imagenet import ImageNet

__all__ = ["NETWORKS", "CifarNet", "ImageNet"]

NETWORKS = {"cifar": CifarNet, "imagenet": ImageNet}
"""The network of each of families.FAMILIES."""
