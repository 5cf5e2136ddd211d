"""Views in Weights & Biases of an experiment's runs: `python -m resnet_repro.dashboard degradation-digits`.

Saves a workspace for each model and a report to your entity, where they were saved before, and prints their addresses.
Without a key, or where the server does not answer, they are written as JSON beside the results.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd

from resnet_repro import experiment, planning
from resnet_repro.analysis import figures, frames
from resnet_repro.analysis.figures import style
from resnet_repro.analysis.tables import estimate
from resnet_repro.analysis.typeset import markdown
from resnet_repro.analysis.verdicts import is_current, read_verdicts
from resnet_repro.config import Run, columns
from resnet_repro.errors import UserError
from resnet_repro.mirror import RETICENT, project, report, views, workspace
from resnet_repro.places import command
from resnet_repro.project import COMMITTED, LOCAL
from resnet_repro.records import write_atomically

if TYPE_CHECKING:
    from resnet_repro.analysis.frames import Measured

NOBODY = ""
"""Whose a view is that is not saved; the JSON does not say it."""


def make(name: str, overrides: Sequence[str], results: Path) -> int:
    """Saves the experiment's workspaces and report or writes them to <results>/<name>/; returns the exit code.

    Raises UserError where the package that makes them is not installed.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError("a dashboard needs wandb-workspaces: pip install 'resnet-repro[dashboard]', or make setup")
    told = _told(name, overrides, results)
    try:
        _save(told, _entity())
    except _NotSavedError as why:
        for file, content in _as_json(told).items():
            path = results / name / f"{file}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content.encode())
            print(f"not saved in W&B ({why}); written to {path}")
    return 0


@dataclass(frozen=True)
class _Told:
    """What the views show: the runs of the plan, the figures, and the verdicts as Markdown."""

    spec: experiment.Experiment
    runs: list[Run]
    pictures: list[report.Picture]
    verdicts: str

    def workspaces(self, entity: str) -> dict[str, Any]:
        depths = colours("depth", self.runs)
        return workspace.build(self.spec.id, self.runs, depths, entity or "nobody")

    def report(self, entity: str) -> Any:
        return report.build(self.spec, self.runs, self.pictures, self.verdicts, entity)


def _told(name: str, overrides: Sequence[str], results: Path) -> _Told:
    """Of what was measured here or, where nothing was, by the authors."""
    spec = experiment.load(name)
    runs = [plan.run for plan in planning.plan(spec, overrides)]
    folder = next((place for place in (results / name, COMMITTED / name) if is_current(place / "verdicts.csv")), None)
    measured = None if folder is None else frames.load(spec, folder)
    pictures = [_picture(figure, runs, measured, folder) for figure in spec.figures]
    return _Told(spec, runs, pictures, "Nothing is measured yet." if folder is None else verdicts(folder))


def verdicts(folder: Path) -> str:
    """The verdicts in a folder of results as a table in Markdown, a row per claim."""
    head = [(words, "") for words in ("claim", "estimate [95 % interval]", "n", "verdict")]
    rows = [[v.says, estimate(v), str(v.n), v.verdict] for v in read_verdicts(folder / "verdicts.csv")]
    whose = "\n\nMeasured by the authors, not by these runs." if folder.parent == COMMITTED else ""
    return markdown(head, rows) + whose


def _picture(
    figure: experiment.Figure, runs: Sequence[Run], measured: "Measured | None", folder: Path | None
) -> report.Picture:
    kind = figures.drawing(figure)
    x = getattr(kind, "X", {}).get(figure.draw, "")
    panel = next((key for key in kind.keys(figure) if key not in (figure.hue, x)), None)
    title = figure.title or kind.TITLES[figure.draw]
    bare = report.Picture(figure, title, x, panel, colours(figure.hue, runs))
    if measured is None or folder is None or not (image := folder / f"{figure.name}.png").exists():
        return bare
    caption = kind.caption(figure, figures.numbers(figure, measured), measured)
    return replace(bare, title=figures.title(figure, measured), caption=caption, image=image)


def colours(column: str, runs: Sequence[Run]) -> dict[Any, str]:
    """The colour of each value that the column has among the runs, `#rrggbb`, as in the figures."""
    from matplotlib.colors import to_hex

    found = style.colours(column, pd.DataFrame([columns(run) for run in runs]))
    return {value: to_hex(colour) for value, colour in found.items()}


def _as_json(told: _Told) -> dict[str, str]:
    """What W&B would be sent, as JSON, by the names of the files."""
    spaces = {f"workspace-{model}": workspace.as_json(one) for model, one in told.workspaces(NOBODY).items()}
    return spaces | {"report": report.as_json(told.report(NOBODY))}


def _save(told: _Told, entity: str) -> None:
    """Saves the views and prints their addresses. Raises _NotSavedError."""
    env = told.runs[0].env
    folder = Path(env.runs_dir) / "wandb"
    try:
        for one in told.workspaces(entity).values():
            print(f"{one.name}: {views.save(one.name, one, folder)}")
        report.log_figures(told.spec.id, told.pictures, project(env), entity, Path(env.runs_dir))
        made = told.report(entity)
        print(f"{made.title}: {views.save(made.title, made, folder)}")
    except Exception as error:  # whatever W&B raises: a server's answer, or none
        raise _NotSavedError(_words(error)) from error


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
