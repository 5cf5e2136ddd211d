"""What a user has Lightning watch a run with (`trainer.*`): callbacks, loggers, a profiler, instantiated by Hydra."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.errors import HydraException
from hydra.utils import get_object, instantiate
from pytorch_lightning import callbacks, profilers
from pytorch_lightning.loggers import Logger

from resnet_repro.config import ConfigError, Trainer

PROFILERS = {
    "simple": profilers.SimpleProfiler,
    "advanced": profilers.AdvancedProfiler,
    "pytorch": profilers.PyTorchProfiler,
}
CHANGING = (
    callbacks.BatchSizeFinder, callbacks.EarlyStopping, callbacks.GradientAccumulationScheduler,
    callbacks.LearningRateFinder, callbacks.ModelPruning, callbacks.StochasticWeightAveraging, callbacks.Timer,
    callbacks.WeightAveraging,
)  # fmt: skip
"""Lightning's callbacks that would change what is trained, or how long."""


def watchers(trainer: Trainer, place: Path) -> dict[str, Any]:
    """The arguments of Lightning's Trainer that `trainer` stands for; what they write goes to `place` by default.

    Raises ConfigError for what cannot be made, is of another kind, or would change what is trained.
    """
    watching = [_made("callbacks", one, pl.Callback) for one in trainer.callbacks]
    for callback in watching:
        if isinstance(callback, CHANGING):
            raise ConfigError(
                f"trainer.callbacks: {type(callback).__name__} would change what is trained, or how long; leave it out"
            )
    loggers = [_made("logger", one, Logger, save_dir=str(place)) for one in _several(trainer.logger)]
    return {
        "callbacks": watching,
        "logger": loggers or False,
        "profiler": _profiler(trainer.profiler, place),
        "default_root_dir": place,
        "log_every_n_steps": 1,  # at every interval
        "detect_anomaly": trainer.detect_anomaly,
        "enable_checkpointing": any(isinstance(callback, callbacks.Checkpoint) for callback in watching),
        "enable_progress_bar": trainer.enable_progress_bar,
        "enable_model_summary": trainer.enable_model_summary,
    }


def _several(value: Any) -> Sequence[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _profiler(value: Any, place: Path) -> profilers.Profiler | None:
    if value is None:
        return None
    if isinstance(value, str):
        return PROFILERS[value](dirpath=place, filename="profile")
    return _made("profiler", value, profilers.Profiler)


def _made(name: str, target: dict[str, Any], kind: type, **defaults: Any) -> Any:
    """The object; with those of the defaults that its class takes and the target leaves open."""
    try:
        taken = inspect.signature(get_object(target["_target_"])).parameters
        made = instantiate({k: v for k, v in defaults.items() if k in taken} | target, _convert_="all")
    except (HydraException, ImportError, TypeError, ValueError) as error:
        raise ConfigError(f"trainer.{name}: Hydra says: {' '.join(str(error).split())}") from error
    if not isinstance(made, kind):
        raise ConfigError(f"trainer.{name}: {target['_target_']} is no {kind.__module__}.{kind.__qualname__}")
    return made
