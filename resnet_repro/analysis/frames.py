"""The measured data of an experiment as frames: the plan's settings joined with what was collected."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_repro import records
from resnet_repro.analysis.summaries import summarised
from resnet_repro.collect import COLLECTED_POINTS, MEASURED, PROVENANCE, check_sums, readable
from resnet_repro.config import columns, later_defaults
from resnet_repro.errors import UserError
from resnet_repro.experiment import Experiment
from resnet_repro.metrics import SHARES
from resnet_repro.planning import Planned, plan, selects

if TYPE_CHECKING:
    import pandas as pd

POINTS = ("run_id", "step", "metric", "x", "y", "value")


@dataclass(frozen=True)
class Measured:
    """What was planned and what was measured of it.

    runs: one row per planned run, in the plan's order, index `run_id`: the columns of `config.columns` with their
        types, `measured` (bool), what `results/<id>/data/runs.csv` says of the run, and the summaries of its points.
    points: `run_id, step, metric, x, y, value`, of planned runs only; x and y are missing where a metric has none.
    unplanned: how many rows of runs.csv belong to no planned run; they are left out.
    """

    experiment: Experiment
    settings: tuple[str, ...]
    runs: "pd.DataFrame"
    points: "pd.DataFrame"
    unplanned: int

    @property
    def data(self) -> str:
        """The titles of the data sets, `digits` or `CIFAR-10 and CIFAR-100`."""
        return " and ".join(self.runs["data"].unique())

    @property
    def told(self) -> list[str]:
        """The settings that a report lists: not those added after 0.1.0 that every run leaves at their default."""
        later = later_defaults()
        return [k for k in self.settings if k not in later or any(v != later[k] for v in self.runs[k])]

    def select(self, where: dict[str, Any]) -> "pd.DataFrame":
        """The planned runs that `where` selects, by the rule of `planning.selects`."""
        rows: list[Any] = self.runs[list(self.settings)].to_dict("records")
        return self.runs[[selects(where, row) for row in rows]]

    def at(self, metric: str, step: int | None) -> "Measured":
        """The same with `metric` as it was after `step` steps, and `diverged` by then; None: at the end, as it is.

        A run that has no point there has no value.
        """
        if step is None:
            return self
        there = self.points[(self.points["metric"] == metric) & (self.points["step"] == step)]
        runs = self.runs.copy()
        runs[metric] = there.set_index("run_id")["value"].reindex(runs.index).astype(float)
        runs["diverged"] = (runs["diverged_step"].astype(float) <= step).astype(float).where(runs["measured"])
        return replace(self, runs=runs)


def load(experiment: Experiment, folder: Path) -> Measured:
    """The data in folder/data. Raises UserError for one that was edited, names a run twice or mixes data sets."""
    import pandas as pd

    check_sums(folder / "data")
    settings = _settings(plan(experiment))
    path = folder / "data" / "runs.csv"
    with readable(path):
        found = _read_runs(path)
    runs = _joined(settings, found)
    _check_one_data_set(runs, folder)
    types: dict[str, type] = {**dict.fromkeys(("run_id", "metric"), str), "step": int}
    types |= dict.fromkeys(("x", "y", "value"), float)
    path = folder / "data" / COLLECTED_POINTS
    with readable(path):
        points = pd.read_csv(path, dtype=types)
        points = points[points["run_id"].isin(settings.index)][[*POINTS]]
    runs = summarised(runs, points, experiment.asked)
    return Measured(experiment, tuple(settings.columns), runs, points, len(found) - int(runs["measured"].sum()))


def joined(
    experiment: Experiment,
    planned: Sequence[Planned],
    rows: Sequence[dict[str, Any]],
    points: Mapping[str, Sequence[records.Point]] | None = None,
) -> Measured:
    """The same of rows (collect.row) of planned runs that are not collected yet, and their points, by run, if given."""
    import pandas as pd

    numbers = [name for name in MEASURED if name not in ("status", *PROVENANCE)]
    found = pd.DataFrame([[row.get(k) for k in ("run_id", *MEASURED)] for row in rows], columns=["run_id", *MEASURED])
    found = found.set_index("run_id").astype(dict.fromkeys(numbers, float))
    settings = _settings(planned)
    own = [(run, *point) for run, of_run in (points or {}).items() for point in of_run]
    types = {"step": int} | dict.fromkeys(("x", "y", "value"), float)
    frame = pd.DataFrame(own, columns=POINTS).astype(types)
    runs = summarised(_joined(settings, found), frame, experiment.asked)
    return Measured(experiment, tuple(settings.columns), runs, frame, 0)


def _settings(planned: Sequence[Planned]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame([columns(p.run) for p in planned], index=[p.id for p in planned], dtype=object)


def _joined(settings: "pd.DataFrame", found: "pd.DataFrame") -> "pd.DataFrame":
    known = found[found.index.isin(settings.index)]
    runs = settings.assign(measured=settings.index.isin(known.index))
    runs = runs.join(known).rename_axis("run_id")
    untrained = runs["measured"] & (runs["steps"] == 0)
    runs.loc[untrained, list(SHARES)] = 0  # what was not trained has neither failed to train nor got stuck
    return runs


def _read_runs(path: Path) -> "pd.DataFrame":
    import pandas as pd

    # A commit or a hash may consist of digits; an empty field, and nothing else, is missing.
    types: dict[str, type] = dict.fromkeys(["run_id", "status", *PROVENANCE], str) | {"seconds": float}
    there = pd.read_csv(path, nrows=0).columns
    names = ["run_id", *(name for name in MEASURED if name in there)]  # of another one nothing was measured
    table = pd.read_csv(path, usecols=names, dtype=types, keep_default_na=False, na_values=[""], index_col="run_id")
    twice = table.index[table.index.duplicated()]
    if len(twice):
        raise UserError(f"{path} names run {twice[0]} twice; collect the experiment again")
    numbers = table[[name for name in table if name not in ("status", *PROVENANCE)]]
    numbers.astype(float)  # raises for one that is none
    return table.reindex(columns=MEASURED)


def _check_one_data_set(runs: "pd.DataFrame", folder: Path) -> None:
    for name, hashes in runs.groupby("data", sort=False)["data_sha256"]:
        if hashes.nunique() > 1:
            raise UserError(
                f"{folder / 'data' / 'runs.csv'}: runs on {name} saw different data (data_sha256 "
                f"{', '.join(sorted(h[:10] for h in hashes.dropna().unique()))}); train those of one of them again"
            )


def varying(runs: "pd.DataFrame", settings: Iterable[str]) -> list[str]:
    """The settings that differ between these runs, the seed left out."""
    return [k for k in settings if k != "seed" and len(set(runs[k])) > 1]


def cells(runs: "pd.DataFrame", by: list[str]) -> list[tuple[dict[str, Any], "pd.DataFrame"]]:
    """The rows grouped by the columns `by`, each group with its values, in the order of the rows.

    Unlike pandas' groupby it tells no value (`ghost_batch` off is None) from a missing one.
    """
    if not by:
        return [({}, runs)]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, key in enumerate(runs[by].itertuples(index=False, name=None)):
        groups.setdefault(key, []).append(i)
    return [(dict(zip(by, key, strict=True)), runs.iloc[rows]) for key, rows in groups.items()]


def text(value: Any) -> str:
    """A setting's value as tables and figures show it."""
    return "off" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
