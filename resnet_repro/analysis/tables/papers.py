"""Ours beside the papers' numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis import published, words
from resnet_repro.analysis.claims import mean_of
from resnet_repro.analysis.frames import Measured, cells, varying
from resnet_repro.analysis.tables.shown import interval, lines, single, stacked, two
from resnet_repro.analysis.typeset import Layout, Table
from resnet_repro.metrics import SHARES

if TYPE_CHECKING:
    import pandas as pd


def paper_table(measured: Measured) -> Table | None:
    """Ours beside the paper's for each number published for a cell of ours; None when there is none.

    The papers' numbers are on CIFAR-10. A cell has one when it is on its images, whatever their pixels ("CIFAR-10",
    "CIFAR-10 (...)"), and model, depth, norm and, where it applies, shortcut_scale agree; in what else the two differ
    is written beside them.
    """
    runs = measured.runs[measured.runs["measured"] & measured.runs["data"].str.match(r"CIFAR-10($| \()")]
    settings = list(dict.fromkeys(["model", "depth", *varying(runs, measured.settings)]))
    numbers = [
        _beside(cell, group, number)
        for cell, group in (cells(runs, settings) if len(runs) else [])
        for number in published.numbers()
        if _same_network(number, dict(group.iloc[0])) and group[number["metric"]].notna().any()
    ]
    if not numbers:
        return None
    rows = [[words.listed({k: row[k] for k in settings}), *_compared(row)] for row in numbers]
    head = ["cell", "measured", "ours [95 % interval]", "n", "paper", "difference", "ours differs in", "source"]
    return Table(
        measured.experiment.id,
        "paper",
        "Beside the papers",
        _caption(measured, numbers),
        single(head),
        rows,
        numbers,
        wide=_wide(rows),
        column=_column(rows),
    )


def _caption(measured: Measured, numbers: Sequence[dict[str, Any]]) -> str:
    parts = [f"Ours on {measured.data} beside the papers' numbers, in percent, with 95 % intervals over n seeds."]
    if any(row["metric"] in SHARES for row in numbers):
        parts.append("Of failed seeds (test error above 20 %) it is the share, 0 to 1.")
    return " ".join(parts)


def _wide(rows: Sequence[Sequence[str]]) -> Layout:
    head = ["measured", "ours\n[95 % interval]", "n", "paper", "difference", "source; ours differs in"]
    shown = [
        [f"{cell}: {what}", stacked(ours), n, paper.replace(" (", "\n("), difference, f"{source}; {differs}"]
        for cell, what, ours, n, paper, difference, differs, source in rows
    ]
    return Layout(single(head), shown, ["X0.8", "l", "r", "l", "r", "X1.2"])


def _column(rows: Sequence[Sequence[str]]) -> Layout:
    """In what ours differs is in the wide version."""
    head = ["measured (source)", "ours\n[95 % interval]", "n", "paper"]
    shown = [
        [lines(f"{cell}: {what}", f"({source.split(';')[0]})"), stacked(ours), n, paper.replace(" (", "\n(")]
        for cell, what, ours, n, paper, _, _, source in rows
    ]
    return Layout(single(head), shown, ["X", "l", "r", "l"])


def _same_network(number: dict[str, Any], settings: dict[str, Any]) -> bool:
    same = all(number[k] == settings[k] for k in ("model", "depth", "norm"))
    return same and number["shortcut_scale"] in (None, settings["shortcut_scale"])


def _beside(cell: dict[str, Any], runs: "pd.DataFrame", number: dict[str, Any]) -> dict[str, Any]:
    ours = mean_of(number["metric"], runs[number["metric"]].dropna().tolist()).rounded()
    return cell | {
        "metric": number["metric"],
        "ours": ours.value,
        "low": ours.low,
        "high": ours.high,
        "n": ours.n,
        "paper": number["value"],
        "paper_sd": number["sd"],
        "paper_n": number["n"],
        "difference": round(ours.value - number["value"], 6),
        "differs": _differs(runs, number["source"]),
        "source": number["source"],
        "note": number["note"],
    }


def _differs(runs: "pd.DataFrame", source: str) -> str:
    """`steps 400 (64000), ...`: ours, and the paper's in parentheses."""
    differences = published.differences(dict(runs.iloc[0]), source).items()
    values = ((k, words.value(k, ours), words.value(k, theirs)) for k, (ours, theirs) in differences)
    return ", ".join(f"{words.setting(k)} {ours} ({theirs})" for k, ours, theirs in values)


def _compared(row: dict[str, Any]) -> list[str]:
    ours = interval(row["ours"], row["low"], row["high"])
    spread = "" if row["paper_sd"] is None else f" ± {row['paper_sd']:.2f}"
    paper = f"{row['paper']:.2f}{spread}" + (f" (n = {row['paper_n']})" if row["paper_n"] > 1 else "")
    source = "; ".join(filter(None, (row["source"], row["note"])))
    differs = row["differs"] or "nothing"
    what = words.quantity(row["metric"])
    return [what, ours, str(row["n"]), paper, two(row["difference"], "+"), differs, source]
