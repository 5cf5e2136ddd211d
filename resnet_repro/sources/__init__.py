"""Data sets as arrays, from the files on this machine; no torch is imported until CIFAR's archives are read."""

from resnet_repro.sources.disk import Arrays, MissingData, digest
from resnet_repro.sources.files import Files, files
from resnet_repro.sources.named import NAMES, arrays, sha256

__all__ = ["NAMES", "Arrays", "Files", "MissingData", "arrays", "digest", "files", "sha256"]
