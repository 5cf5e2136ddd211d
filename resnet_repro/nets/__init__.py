"""The networks: plain PyTorch, nothing else of this project imported."""

from resnet_repro.nets.cifar import CifarNet

__all__ = ["CifarNet"]
