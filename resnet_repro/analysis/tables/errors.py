"""The errors of every cell of an experiment, over its seeds."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis import words
from resnet_repro.analysis.frames import Measured, cells, varying
from resnet_repro.analysis.tables.shown import outcomes, single, two, without
from resnet_repro.analysis.typeset import COLUMN, WIDE, Layout, Table, inches
from resnet_repro.experiment import Experiment
from resnet_repro.metrics import ERRORS, QUANTITIES, SHARES, SUMMARIES
from resnet_repro.stats import t_interval

if TYPE_CHECKING:
    import pandas as pd


def error_table(measured: Measured) -> Table:
    """One row per cell, which is everything but the seed: mean ± half the t interval.

    Shown are the errors and summaries that the claims name, then those by which they choose, then those drawn; these
    and all errors are in the CSV file. A setting that follows from another one shown, and an outcome that no run had,
    have no column.
    """
    settings = varying(measured.runs, measured.settings)
    metrics = [m for m in (*ERRORS, *SUMMARIES) if measured.runs[m].notna().any()]
    numbers = [_error_row(cell, runs, metrics) for cell, runs in cells(measured.runs, settings)]
    keys = _keys(measured.runs, settings)
    shown = [m for m in _of_interest(measured.experiment) if m in metrics] or metrics
    shares = [share for share in SHARES if any(row[share] for row in numbers)]
    full = _layout(numbers, keys, shown, shares)
    title = "Errors" if set(shown) <= set(ERRORS) else "Measurements"
    return Table(
        measured.experiment.id,
        "errors",
        title,
        f"{title} {_caption(measured, numbers, keys, shares)}",
        full.head,
        full.rows,
        numbers,
        wide=_that_fits(numbers, keys, shown, shares, WIDE),
        column=_that_fits(numbers, keys, shown, shares, COLUMN),
        note=_fixed(measured, settings),
    )


def _of_interest(e: Experiment) -> list[str]:
    """The errors and summaries that the claims name, those by which they choose, and those drawn, in this order."""
    named = [claim.metric for claim in e.claims]
    chosen = ["valid_error" for claim in e.claims if claim.best_over]
    drawn = [metric for figure in e.figures for metric in figure.y]
    return [metric for metric in dict.fromkeys([*named, *chosen, *drawn]) if metric in ERRORS + SUMMARIES]


def distinguishing(measured: Measured) -> list[str]:
    """The settings that tell the measured cells apart, without the seed and what follows from another one of them."""
    runs = measured.runs[measured.runs["measured"]]
    return _keys(runs, varying(runs, measured.settings))


def _keys(runs: "pd.DataFrame", settings: Sequence[str]) -> list[str]:
    """The settings that tell the cells apart, without those that follow from a single earlier one."""
    keys: list[str] = []
    for setting in settings:
        if not any(_follows(setting, key, runs) for key in keys):
            keys.append(setting)
    return keys


def _follows(setting: str, key: str, runs: "pd.DataFrame") -> bool:
    return all(len(set(group[setting])) == 1 for _, group in cells(runs, [key]))


def _layout(
    numbers: Sequence[dict[str, Any]], keys: Sequence[str], metrics: Sequence[str], shares: Sequence[str]
) -> Layout:
    head = [
        *single([words.setting(k).replace(" ", "\n") for k in keys]),
        ("n", ""),
        *((_broken(head), subhead) for head, subhead in (QUANTITIES[q].column for q in (*metrics, *shares))),
    ]
    rows = [
        [*(words.value(k, row[k]) for k in keys), *_of_cell(row, metrics, shares)] for row in _grouped(numbers, keys)
    ]
    layout = Layout(head, rows, ["l"] * len(keys) + ["r"] + ["±"] * len(metrics) + ["r"] * len(shares))
    return without(layout, "n") if _seeds(numbers) else layout


def _in_words(
    numbers: Sequence[dict[str, Any]], keys: Sequence[str], metrics: Sequence[str], shares: Sequence[str]
) -> Layout:
    """The settings of a cell in one column, their lines broken: it fits whatever they are."""
    plain = _layout(numbers, [], metrics, shares)
    named = ["; ".join(words.named(k, row[k]) for k in keys) for row in _grouped(numbers, keys)]
    cells = [_of_cell(row, metrics, shares) for row in _grouped(numbers, keys)]
    cells = [cell[1:] for cell in cells] if _seeds(numbers) else cells
    rows = [[name, *cell] for name, cell in zip(named, cells, strict=True)]
    return Layout([("cell", ""), *plain.head], rows, ["X", *plain.align])


def _of_cell(row: dict[str, Any], metrics: Sequence[str], shares: Sequence[str]) -> list[str]:
    return [
        str(row["n"]) if row["n"] == row["planned"] else f"{row['n']} of {row['planned']}",
        *(_plus_minus(row[f"{m}_mean"], row[f"{m}_half"]) for m in metrics),
        *(str(row[share]) for share in shares),
    ]


def _broken(head: str) -> str:
    return "\n".join(textwrap.wrap(head, WRAP))


WRAP = 18
"""Letters in a line of a head."""


def _grouped(numbers: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """The rows by the first key, then by the second, and so on: numbers by size, else as they first occur."""

    def place(row: dict[str, Any]) -> list[Any]:
        return [row[k] if numeric[k] else list(met[k]).index(row[k]) for k in keys]

    numeric = {k: all(isinstance(row[k], int | float) for row in numbers) for k in keys}
    met = {k: dict.fromkeys(row[k] for row in numbers) for k in keys}
    return sorted(numbers, key=place)


def _seeds(numbers: Sequence[dict[str, Any]]) -> int | None:
    """The number of seeds, where it is the same for every cell and none is missing."""
    counts = {row[key] for row in numbers for key in ("n", "planned")}
    return counts.pop() if len(counts) == 1 else None


def _that_fits(
    numbers: Sequence[dict[str, Any]], keys: Sequence[str], metrics: Sequence[str], shares: Sequence[str], width: float
) -> Layout:
    """The layout with as many of the metrics, the first before the others, as the width has room for.

    The settings share a column only where they have no room beside one metric.
    """
    few = [share for share in shares if share == "failed"]  # the failed include the others
    counts = range(max(len(metrics), 1), 0, -1)
    layouts = [_layout(numbers, keys, metrics[:n], s) for n in counts for s in (shares, few)]
    layouts += [_in_words(numbers, keys, metrics[:n], s) for n in counts for s in (shares, few)]
    return next((layout for layout in layouts if inches(layout) <= width), layouts[-1])


def _caption(measured: Measured, numbers: Sequence[dict[str, Any]], keys: Sequence[str], shares: Sequence[str]) -> str:
    n = _seeds(numbers) or "n"
    parts = [f"on {measured.data}: mean ± half the 95 % t interval over {n} seeds."]
    parts += ["A diverged run counts as 100 %."] if "diverged" in shares else []
    return " ".join(filter(None, [*parts, outcomes(shares), *_following(measured, keys)]))


def _following(measured: Measured, keys: Sequence[str]) -> list[str]:
    """A sentence for the settings that follow from one shown: `Depth 110: warm-up learning rate 0.03 (else 0.01).`"""
    varied = varying(measured.runs, measured.settings)
    left = [k for k in varied if k not in keys]
    sentences = []
    for key in keys:
        mine = [k for k in left if _follows(k, key, measured.runs)]
        left = [k for k in left if k not in mine]
        groups = [(cell[key], group.iloc[0]) for cell, group in cells(measured.runs, [key])] if mine else []
        usual = {k: measured.runs[k].iloc[0] for k in mine}
        for what, row in groups:
            different = {k: row[k] for k in mine if row[k] != usual[k]}
            if different:
                sentences.append(f"With {words.named(key, what)}: {words.listed(different)}.")
    return sentences


def _fixed(measured: Measured, settings: Sequence[str]) -> str:
    """What all runs have in common."""
    fixed = [k for k in measured.told if k not in {*settings, "seed", "data"}]
    return f"Fixed: {'; '.join(f'{words.setting(k)}: {words.value(k, measured.runs[k].iloc[0])}' for k in fixed)}."


def _error_row(cell: dict[str, Any], runs: "pd.DataFrame", metrics: Sequence[str]) -> dict[str, Any]:
    done = runs[runs["measured"]]
    row = cell | {"planned": len(runs), "n": len(done)}
    for metric in metrics:
        e = t_interval(done[metric].dropna().tolist())
        row |= {f"{metric}_mean": round(e.value, 6), f"{metric}_half": round((e.high - e.low) / 2, 6)}
    return row | {share: int((done[share] == 1).sum()) for share in SHARES}


def _plus_minus(mean: float, half: float) -> str:
    return "–" if math.isnan(mean) else two(mean) + ("" if math.isinf(half) else f" ± {two(half)}")
