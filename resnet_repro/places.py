"""Where runs and data lie: every path is resolved once, absolutely, by the process that plans, and handed to its jobs.

So a job that works in another folder, at another time or on another node finds the folder that was meant.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from omegaconf import OmegaConf

from resnet_repro import errors
from resnet_repro.config import ConfigError, Run
from resnet_repro.project import CONFIG_DIR

PATHS = ("runs_dir", "data_dir")
STARTED = time.localtime()


def stop_the_clock() -> None:
    """Makes `${now:%H-%M}` the time at which this process began; Hydra's own is another one for every run."""
    OmegaConf.register_new_resolver("now", lambda pattern: time.strftime(pattern, STARTED), replace=True)


def settle(run: Run, start: Path | None = None) -> Run:
    """The run, its paths made absolute: relative ones begin at `start`, by default the working directory."""
    for name in PATHS:
        setattr(run.env, name, absolute(f"env.{name}", getattr(run.env, name), start))
    return run


def absolute(key: str, text: str, start: Path | None = None) -> str:
    """The path with ~ as the user's home folder. Raises ConfigError where there is none."""
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{key} is {text!r}, and this user has no home folder: write the whole path") from error
    return str((start or Path.cwd()) / path)


def command(body: Callable[[], int | None]) -> NoReturn:
    """Runs a command as `errors.command` does, with the user's own settings of Hydra's `--config-dir DIR`."""

    def with_own_settings() -> int | None:
        _take_config_dir()
        return body()

    errors.command(with_own_settings)


def _take_config_dir() -> None:
    """Takes `--config-dir` off the command line: it holds for this process, and for those that it starts."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir")
    given, sys.argv[1:] = parser.parse_known_args()
    if given.config_dir is None:
        return
    folder = Path(absolute("--config-dir", given.config_dir))
    if not folder.is_dir():
        raise ConfigError(f"--config-dir must be a folder of your own settings (task/mine.yaml), got {folder}")
    os.environ[CONFIG_DIR] = str(folder)


def handed(run: Run, overrides: Sequence[str]) -> list[str]:
    """The overrides for a job: with the run's paths as they were resolved here, instead of what was written.

    A data_dir that names a variable of the environment is left to the job: on a cluster that is the job's own disk.
    """
    of_the_job = any(text.startswith("env.data_dir=") and "${oc.env:" in text for text in overrides)
    names = [name for name in PATHS if not (of_the_job and name == "data_dir")]
    written = tuple(f"env.{name}=" for name in names)
    paths = [f"env.{name}={_quoted(getattr(run.env, name))}" for name in names]
    return [text for text in overrides if not text.startswith(written)] + paths


def _quoted(path: str) -> str:
    """A path in Hydra's grammar; in quotes only where it needs them."""
    plain = all(c.isalnum() or c in "/._-+" for c in path) and path.isascii()
    return path if plain else "'" + path.replace("'", r"\'") + "'"
