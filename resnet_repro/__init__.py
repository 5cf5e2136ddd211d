"""What do residual connections really do? Networks, experiments, measurements and verdicts.

    import resnet_repro as rr

    rr.experiments()                                  what there is
    rr.results("degradation-digits").verdicts         what was measured, as frames
    rr.figure("degradation-digits", "curves")         a figure of it
    rr.train("task=digits", "model.depth=56", seed=3) one run
    rr.sweep("tiny")                                  an experiment
    rr.load("resnet56-s3-...")                        a trained network
    rr.CifarNet(20)                                   a new one

Nothing is imported before it is asked for. What the functions do: api.py; the networks: nets/.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

PARTS = {
    **dict.fromkeys(("Results", "Trained", "experiments", "figure", "load", "results"), "resnet_repro.api"),
    **dict.fromkeys(("CifarNet", "DenseNet", "ImageNet"), "resnet_repro.nets"),
}
VERBS = ("train", "sweep")
"""Modules, since `python -m resnet_repro.train` runs them; called, they are the functions of that name in api.py."""

__all__ = [*PARTS, *VERBS]  # noqa: PLE0604


class Verb(ModuleType):
    """What train.py and sweep.py are, since a package has one thing only by the name of a module in it."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """The function of this name in resnet_repro.api."""
        verb = getattr(import_module("resnet_repro.api"), self.__name__.rpartition(".")[2])
        return verb(*arguments, **settings)

    def __reduce__(self) -> Any:
        return import_module, (self.__name__,)  # cloudpickle knows plain modules only


def __getattr__(name: str) -> Any:
    if name in VERBS:
        return import_module(f"resnet_repro.{name}")
    if name in PARTS:
        return getattr(import_module(PARTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
