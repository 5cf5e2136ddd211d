"""Where a number comes from: commit, versions, device. Never environment variables, user or host names."""

import json
import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import distribution, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from resnet_repro.project import INSTALLED, ROOT


def describe(device: str) -> dict[str, Any]:
    """Commit, Python, package versions (this project's too) and the device's name (`cpu` or `cuda`)."""
    names = ("resnet-repro", "torch", "torchvision", "pytorch-lightning", "numpy")
    packages = {name: version(name) for name in names}
    return {"commit": commit(), "python": platform.python_version(), **packages, "device": device_name(device)}


@lru_cache(maxsize=1)
def commit() -> str:
    """This project's commit, `-dirty` added where a file was changed, or is new, that says what is trained.

    Of an installed package what pip noted, where it took it from a repository. `unknown` where the source lies in no
    git checkout of its own, be it within another repository.
    """
    if INSTALLED:
        return _installed_commit()
    try:
        if not Path(_git("rev-parse", "--show-toplevel")).samefile(ROOT):
            return "unknown"
        _git("ls-files", "--error-unmatch", "--", "resnet_repro/provenance.py")  # within, and not one of its files
        head = _git("rev-parse", "--short=12", "HEAD")
        changes = _changes()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("-dirty" if changes else "")


def _changes() -> str:
    """The files that differ from the commit, or are new; also where git was told to assume that they do not differ."""
    with TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": f"{folder}/index"}
        _git("read-tree", "HEAD", **index)
        changes = _git("status", "--porcelain", "-unormal", "--", "resnet_repro", "conf", "hydra_plugins", **index)
        # A new question changes no code.
        return changes + _git("status", "--porcelain", "-uno", "--", "experiments", **index)


def _installed_commit() -> str:
    """The commit in direct_url.json (packaging.python.org, direct URL data structure); none of an index's wheel."""
    package = distribution("resnet-repro")
    noted = json.loads(package.read_text("direct_url.json") or "{}")
    return noted.get("vcs_info", {}).get("commit_id", "unknown")[:12]


def _git(*arguments: str, **environment: str) -> str:
    """What git answers about the checkout at ROOT, whatever repository the environment names for others."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | environment
    answer = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], env=surroundings, capture_output=True, encoding="utf-8", check=True
    )
    return answer.stdout.strip()


def device_name(device: str) -> str:
    """The model name of the GPU, or of the CPU."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or sys.platform
