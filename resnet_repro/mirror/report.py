"""An experiment as a W&B report, as code: its question, verdicts, figures with captions, and the live runs of each.

A report shows pictures of W&B runs; so the figures are logged to a run of their own, `<experiment>-figures`. Needs the
package wandb-workspaces (the extra `dashboard`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_repro.config import Run, columns
from resnet_repro.experiment import Experiment, Figure
from resnet_repro.metrics import CURVES, METRICS, PROFILES, QUANTITIES
from resnet_repro.mirror import project
from resnet_repro.mirror.workspace import as_shown, over_steps, varying
from resnet_repro.planning import selects

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Report

PATIENCE = 30.0
"""Seconds that W&B may take to begin the run of the figures, and to take them."""


@dataclass(frozen=True)
class Picture:
    """A figure with what its report needs.

    x: the setting over which it is drawn; empty for steps or layers. panel: the setting that has a panel for each
    value. colours: of each value of the figure's hue, `#rrggbb`. caption, image: as drawn; empty, None where it is not.
    """

    figure: Figure
    title: str
    x: str
    panel: str | None
    colours: Mapping[Any, str]
    caption: str = ""
    image: Path | None = None


def build(e: Experiment, runs: Sequence[Run], pictures: Sequence[Picture], verdicts: str, entity: str) -> "Report":
    """The report `<id>: report`. verdicts: Markdown. entity: who owns it; empty where it is not saved.

    A set of runs names its project by a number of W&B's, which is asked for; without entity it names none.
    """
    import wandb_workspaces.reports.v2 as wr

    place = {"entity": entity, "project": project(runs[0].env) if entity else ""}
    rows = [columns(run) for run in runs]
    blocks: list[Any] = [wr.MarkdownBlock(f"Source: {e.source}"), wr.H2("Verdicts"), wr.MarkdownBlock(verdicts)]
    for picture in pictures:
        blocks += [wr.H2(picture.title), *_drawn(e.id, picture, place), *_live(e.id, picture, rows, place)]
    return wr.Report(
        entity=entity, project=project(runs[0].env), title=f"{e.id}: report", description=e.question,
        blocks=blocks, width="fluid",
    )  # fmt: skip


def _drawn(experiment: str, picture: Picture, place: Mapping[str, Any]) -> list[Any]:
    """The picture, from the run that it is logged to, and its caption."""
    import wandb_workspaces.reports.v2 as wr

    if picture.image is None:
        return []
    own = wr.Runset(**place, name="figures", filters=_filters({"figures_of": experiment}))
    shown = wr.MediaBrowser(media_keys=[picture.figure.name], num_columns=1, layout=wr.Layout(w=24, h=12))
    return [wr.PanelGrid(runsets=[own], panels=[shown], hide_run_sets=True), wr.MarkdownBlock(picture.caption)]


def _live(experiment: str, picture: Picture, rows: Sequence[dict[str, Any]], place: Mapping[str, Any]) -> list[Any]:
    """The figure's runs as W&B has them, a grid for each of its panels. What only a report computes is not there.

    Runs are grouped by all that varies among them but the seed; a group has the colour of its hue.
    """
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = []
    where = picture.figure.where
    shown = [row for row in rows if selects(where, row)] if _panels(picture) else []
    for value in dict.fromkeys(row[picture.panel] if picture.panel else None for row in shown):
        part = {picture.panel: value} if picture.panel else {}
        own = [row for row in shown if selects(part, row)]
        by = [picture.figure.hue, *(key for key in varying(own) if key != picture.figure.hue)]
        name = ", ".join(["live", *(f"{key} {as_shown(one)}" for key, one in part.items())])
        filters = _filters({"experiment": experiment} | where | part)
        runset = wr.Runset(**place, name=name, filters=filters, groupby=[f"config.{key}" for key in by])
        colours = _colours(name, by, own, picture.colours)
        blocks.append(wr.PanelGrid(runsets=[runset], panels=_panels(picture), custom_run_colors=colours))
    return blocks


def _filters(where: Mapping[str, Any]) -> list[Any]:
    from wandb_workspaces.expr import Config

    return [Config(k).isin(v) if isinstance(v, list) else Config(k) == v for k, v in where.items()]


def _colours(runset: str, by: Sequence[str], rows: Sequence[dict[str, Any]], hues: Mapping[Any, str]) -> dict[Any, Any]:
    """Of each group at each level of grouping."""
    from wandb_workspaces.reports.v2 import Config, RunsetGroup, RunsetGroupKey

    def group(values: Sequence[Any]) -> RunsetGroup:
        keys = (RunsetGroupKey(Config(k), as_shown(v)) for k, v in zip(by, values, strict=False))
        return RunsetGroup(runset, tuple(keys))

    found = dict.fromkeys(tuple(row[key] for key in by[:level]) for row in rows for level in range(1, len(by) + 1))
    return {group(values): hues[values[0]] for values in found}


def _panels(picture: Picture) -> list[Any]:
    """A panel for each metric: over the steps or, where the figure has an x, at the end; none of what W&B has not."""
    import wandb_workspaces.reports.v2 as wr

    x, y = picture.x, picture.figure.y
    if x:
        panels = [
            wr.ScatterPlot(title=QUANTITIES[m].words, x=wr.Config(x), y=wr.SummaryMetric(f"final/{m}"))
            for m in y
            if m in METRICS
        ]
    else:
        panels = [over_steps(m) for m in y if m in CURVES + PROFILES]
    for panel in panels:
        panel.layout = wr.Layout(w=12, h=8)
    return panels


def log_figures(experiment: str, pictures: Sequence[Picture], its_project: str, entity: str, folder: Path) -> None:
    """Logs the pictures to the run `<experiment>-figures`, again if it is there. Raises what W&B raises."""
    import wandb

    settings = wandb.Settings(
        silent=True, console="off", init_timeout=PATIENCE, finish_timeout=PATIENCE, finish_timeout_raises=True,
        save_code=False, disable_git=True, x_disable_stats=True, x_disable_machine_info=True, host="",
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    with wandb.init(
        entity=entity, project=its_project, group=experiment, mode="online", dir=folder,
        id=f"{experiment}-figures", name=f"{experiment}-figures", job_type="figures",
        config={"figures_of": experiment}, resume="allow", reinit="create_new", settings=settings,
    ) as run:  # fmt: skip
        run.log({p.figure.name: wandb.Image(str(p.image), caption=p.title) for p in pictures if p.image})


def as_json(report: "Report") -> str:
    """What W&B is sent of a report, as JSON text."""
    return str(report._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=1)) + "\n"
