"""The networks: plain PyTorch, nothing else of this project imported but the table of families."""

from resnet_repro.nets.cifar import CifarNet
from resnet_repro.nets.dense import DenseNet
from resnet_repro.nets.imagenet import ImageNet

__all__ = ["NETWORKS", "CifarNet", "DenseNet", "ImageNet", "Network"]

Network = CifarNet | DenseNet
NETWORKS: dict[str, type[Network]] = {"cifar": CifarNet, "imagenet": ImageNet, "dense": DenseNet}
"""The network of each of families.FAMILIES."""
