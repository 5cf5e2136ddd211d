"""W&B workspaces as code: what one looks at of an experiment's runs, a workspace for each model.

W&B's panels show the runs of their workspace, all of them; so plain and residual nets, drawn side by side in our
figures, have a workspace each. Needs the package wandb-workspaces (the extra `dashboard`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resnet_repro.config import Run, columns
from resnet_repro.metrics import QUANTITIES, SURFACES
from resnet_repro.mirror import project
from resnet_repro.probes import PROBES

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

CURVES = ("train_error_running", "train_loss", "test_error")
LAST = ("train_error_clean", "test_error")
"""Of the metrics of a record, what is drawn over depth, λ and learning rate."""
SWEPT = {"depth": "by depth", "shortcut_scale": "by λ of the shortcuts", "lr": "by learning rate"}
"""The settings over which errors are drawn where the experiment varies them."""
PINNED = ("summary:final/status", "config:depth", "config:seed", "summary:final/diverged_step")
MOST_LINES = 100


def build(experiment: str, runs: Sequence[Run], depths: Mapping[int, str], entity: str) -> dict[str, "Workspace"]:
    """A workspace `<experiment>: <model>` for each model among the runs, under the model's name.

    Its runs are those of the experiment and model, grouped by all settings that vary there but the seed; a group has
    the colour of its depth. depths: the colour of each depth, `#rrggbb`. entity: the user or team of W&B that owns it.
    """
    import wandb_workspaces.workspaces as ws

    rows = [columns(run) for run in runs]
    probes = sorted({probe for run in runs for probe in run.measure.probes})
    made = {}
    for model in sorted({row["model"] for row in rows}):
        own = [row for row in rows if row["model"] == model]
        by = varying(own)
        made[model] = ws.Workspace(
            entity=entity,
            project=project(runs[0].env),
            name=f"{experiment}: {model}",
            sections=_sections(by, probes),
            settings=ws.WorkspaceSettings(x_axis="step", max_runs=MOST_LINES),
            runset_settings=ws.RunsetSettings(
                filters=[ws.Config("experiment") == experiment, ws.Config("model") == model],
                groupby=[ws.Config(name) for name in by],
                group_colors=_colours(own, by, depths),
                order=[ws.Ordering(ws.Config("depth"), ascending=True)],
                pinned_columns=list(PINNED),
            ),
        )
    return made


def varying(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The depth, and the other settings that vary among the rows but the seed."""
    others = [name for name in rows[0] if name not in ("depth", "seed") and len({str(row[name]) for row in rows}) > 1]
    return ["depth", *others]


def _colours(rows: Sequence[Mapping[str, Any]], by: Sequence[str], depths: Mapping[int, str]) -> dict[object, object]:
    """A group at each level of grouping has the colour of its depth."""
    from wandb_workspaces.workspaces import GroupPath

    paths = {tuple(row[name] for name in by[:level]) for row in rows for level in range(1, len(by) + 1)}
    return {GroupPath(*map(as_shown, path)): depths[path[0]] for path in sorted(paths, key=str)}


def as_shown(value: Any) -> str:
    """A value of the config as W&B writes it in the name of a group: as JSON does, 1.0 as 1."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sections(by: Sequence[str], probes: Sequence[str]) -> list[Any]:
    """Curves over the steps, errors at the end over what is swept, and what the probes measured over the steps."""
    import wandb_workspaces.workspaces as ws

    swept = [_at_end(metric, name) for name in SWEPT if name in by for metric in LAST]
    quantities = [metric for probe in probes for metric in PROBES[probe].quantities if metric not in SURFACES]
    measured = [over_steps(metric) for metric in quantities]
    sections = {"Over the steps": [over_steps(metric) for metric in CURVES], "At the end": swept, "Measured": measured}
    return [ws.Section(name=name, panels=panels, is_open=True) for name, panels in sections.items() if panels]


def over_steps(metric: str) -> Any:
    """The mean over the seeds of each group, in the range from the lowest to the highest.

    A profile is one of histograms, whose bins lie on its own axis: layer, lag, step size.
    """
    import wandb_workspaces.reports.v2 as wr

    quantity = QUANTITIES[metric]
    return wr.LinePlot(
        title=quantity.words, x="step", y=[metric], title_x="step", title_y=quantity.x or quantity.unit,
        groupby_aggfunc="mean", groupby_rangefunc="minmax", smoothing_type="none", max_runs_to_show=MOST_LINES,
    )  # fmt: skip


def _at_end(metric: str, setting: str) -> Any:
    """A dot for each run."""
    import wandb_workspaces.reports.v2 as wr

    return wr.ScatterPlot(
        title=f"{QUANTITIES[metric].words} {SWEPT[setting]}",
        x=wr.Config(setting),
        y=wr.SummaryMetric(f"final/{metric}"),
        log_x=setting == "lr",
    )


def as_json(workspace: "Workspace") -> str:
    """What W&B is sent of a workspace, as JSON text."""
    return str(workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=1)) + "\n"
