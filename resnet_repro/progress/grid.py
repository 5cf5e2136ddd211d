"""The runs of a plan as a table: rows and columns are the settings that tell them apart, a cell holds the seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from resnet_repro.config import columns
from resnet_repro.experiment import Experiment
from resnet_repro.metrics import ERRORS
from resnet_repro.planning import Planned
from resnet_repro.progress.state import Seen

FIRST = ("model", "depth")
"""Settings that a reader looks for first."""


@dataclass(frozen=True)
class Grid:
    """Which cell each run belongs to.

    by: the settings of a row, `(model,)`; across: the setting of a column, `depth`, None where nothing varies.
    place: for each run its row and column.
    """

    by: tuple[str, ...]
    across: str | None
    rows: list[tuple[Any, ...]]
    heads: list[Any]
    place: dict[str, tuple[tuple[Any, ...], Any]]


def grid(planned: Sequence[Planned]) -> Grid:
    """Columns by depth if it varies, else by the setting with the most values up to eight; rows by the others.

    A setting that follows from those already taken (the warm-up of one depth) makes no row of its own.
    """
    settings = {plan.id: columns(plan.run) for plan in planned}
    rows = list(settings.values())
    telling = distinguishing(rows)
    across = "depth" if "depth" in telling else max(
        (k for k in telling if len({str(row[k]) for row in rows}) <= 8),
        key=lambda k: len({str(row[k]) for row in rows}), default=None,
    )  # fmt: skip
    by = tuple(k for k in telling if k != across)
    place = {name: (tuple(row[k] for k in by), row[across] if across else "") for name, row in settings.items()}
    heads = list(dict.fromkeys(column for _, column in place.values()))
    numbers = all(isinstance(head, int | float) for head in heads)
    return Grid(
        by, across, list(dict.fromkeys(row for row, _ in place.values())), sorted(heads) if numbers else heads, place
    )


def distinguishing(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The fewest settings, model and depth first, that tell the cells of these runs apart; the seed left out."""
    names = [*FIRST, *(k for k in rows[0] if k not in FIRST and k != "seed")]
    taken: list[str] = []
    count = 1
    for name in names:
        now = len({tuple(str(row[k]) for k in (*taken, name)) for row in rows})
        if now > count:
            taken.append(name)
            count = now
    return taken


def headline(experiment: Experiment | None) -> str:
    """The error that the table shows: the one that most of the experiment's claims ask for."""
    asked = [claim.metric for claim in experiment.claims if claim.metric in ERRORS] if experiment else []
    return max(dict.fromkeys(asked), key=asked.count, default="test_error")


def mean(runs: Sequence[Seen], metric: str) -> str:
    """`52.3 ±8.1`: mean and standard deviation over the finished seeds; of one seed its error alone."""
    records = [seen.record for seen in runs if seen.record is not None]
    values = [v for record in records if (v := record.get("metrics", {}).get(metric)) is not None]
    if not values:
        return ""
    return f"{fmean(values):.1f}" + (f" ±{stdev(values):.1f}" if len(values) > 1 else "")
