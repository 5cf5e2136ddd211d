"""Workspaces in Weights & Biases for an experiment's runs: `python -m resnet_repro.dashboard degradation-digits`.

Saves one for each model to your entity and prints its address. Without a key, or where the server does not answer, they
are written as JSON beside the results.
"""

import argparse
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pandas as pd

from resnet_repro import experiment, planning
from resnet_repro.analysis.figures import style
from resnet_repro.errors import UserError
from resnet_repro.mirror import RETICENT, workspace
from resnet_repro.places import command
from resnet_repro.project import LOCAL
from resnet_repro.records import write_atomically

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NO_ENTITY = "nobody"
"""Whose a workspace is that is not saved; the JSON does not say it."""


def make(name: str, overrides: Sequence[str], results: Path) -> int:
    """Saves the experiment's workspaces or writes them to <results>/<name>/; returns the exit code.

    Raises UserError where the package that makes them is not installed.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError("a dashboard needs wandb-workspaces: pip install 'resnet-repro[dashboard]', or make setup")
    runs = [plan.run for plan in planning.plan(experiment.load(name), overrides)]
    depths = depth_colours([run.model.depth for run in runs])
    try:
        made = workspace.build(name, runs, depths, _entity())
        for one in made.values():
            print(f"{one.name}: {_save(one)}")
    except _NotSavedError as why:
        made = workspace.build(name, runs, depths, NO_ENTITY)
        for model, one in made.items():
            path = results / name / f"workspace-{model}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, workspace.as_json(one).encode())
            print(f"not saved in W&B ({why}); written to {path}")
    return 0


def depth_colours(depths: Sequence[int]) -> dict[int, str]:
    """The colour of each depth, `#rrggbb`, as in the figures."""
    from matplotlib.colors import to_hex

    colours = style.colours("depth", pd.DataFrame({"depth": depths}))
    return {depth: to_hex(colour) for depth, colour in colours.items()}


class _NotSavedError(Exception):
    """W&B has not taken it; says what there is instead of a key or an answer."""


def _entity() -> str:
    """The user or team that WANDB_ENTITY names, or whose the key is."""
    for variable, value in (RETICENT | {"WANDB_SILENT": "true"}).items():
        os.environ.setdefault(variable, value)
    import wandb

    try:
        if not wandb.login(prompt=False):
            mode = os.environ.get("WANDB_MODE", "online")
            raise _NotSavedError("no key: wandb login" if mode == "online" else f"WANDB_MODE={mode}")
        found = os.environ.get("WANDB_ENTITY") or wandb.Api(timeout=10).default_entity
    except _NotSavedError:
        raise
    except Exception as error:  # whatever W&B raises: a wrong key, no network, a server's answer
        raise _NotSavedError(_words(error)) from error
    if not found:
        raise _NotSavedError("the key has no entity: WANDB_ENTITY=...")
    return str(found)


def _save(one: "Workspace") -> str:
    try:
        return str(one.save().url)
    except Exception as error:
        raise _NotSavedError(_words(error)) from error


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m resnet_repro.dashboard", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("experiment", help=f"one of {', '.join(experiment.ids())}")
    parser.add_argument("--results", type=Path, default=LOCAL, metavar="DIR", help=f"where the JSON goes ({LOCAL})")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides on top of the experiment's grid")
    options = parser.parse_intermixed_args(arguments)
    return make(options.experiment, options.overrides, options.results)


def cli() -> NoReturn:
    """The command, `resnet-dashboard`."""
    command(main)


if __name__ == "__main__":
    cli()
