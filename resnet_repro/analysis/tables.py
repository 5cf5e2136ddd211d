"""What the tables say: the verdicts, the errors of every cell, and ours beside the papers'."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis import published
from resnet_repro.analysis.claims import Verdict, mean_of
from resnet_repro.analysis.frames import Measured, cells, text, varying
from resnet_repro.analysis.stats import t_interval
from resnet_repro.analysis.typeset import Table
from resnet_repro.metrics import ERRORS, QUANTITIES, SHARES

if TYPE_CHECKING:
    import pandas as pd

# Verdicts ------------------------------------------------------------------------------------------------------


def verdict_table(verdicts: Sequence[Verdict], measured: Measured) -> Table:
    """One row per claim: the sentence, the estimate with its 95 % interval, n, the region, the verdict."""
    head = ("claim", "metric", "estimate [95 % interval]", "n", "region", "verdict", "notes")
    rows = [[v.says, v.metric, estimate(v), str(v.n), region(v), v.verdict, notes(v)] for v in verdicts]
    caption = (
        f"Verdicts of {measured.experiment.id} on {measured.data}. Errors in percent; differences in percentage "
        "points, paired by seed; Student t intervals, for shares of seeds exact binomial ones. Supported: the "
        "interval lies within the region; refuted: outside of it; inconclusive: across an end of it."
    )
    align = r"p{4.4cm}lp{3.1cm}rlp{1.6cm}p{2.6cm}"
    return Table("verdicts", "Verdicts", caption, [(h, "") for h in head], rows, [asdict(v) for v in verdicts], align)


def estimate(v: Verdict) -> str:
    """`+4.40 [+3.90, +4.90]`, of no difference `0.80 [0.28, 0.99]`."""
    return interval(v.estimate, v.low, v.high, "+" if v.is_difference else "")


def interval(mean: float, low: float, high: float, sign: str = "") -> str:
    """`mean [low, high]` with two decimals; a dash where nothing was measured."""
    return "–" if math.isnan(mean) else f"{_two(mean, sign)} [{_two(low, sign)}, {_two(high, sign)}]"


def _two(value: float, sign: str = "") -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    # Adding 0.0 turns the -0.0 of a rounded -0.001 into 0.0.
    return f"{round(value, 2) + 0.0:{sign}.2f}".replace("-", "−")


def region(v: Verdict) -> str:
    """The region as an interval: `(0, ∞)` without its ends, `[0, 1]` with them."""
    low, high = (_end(x) for x in (v.region_low, v.region_high))
    left = "(" if v.is_difference or low == "−∞" else "["
    right = ")" if v.is_difference or high == "∞" else "]"
    return f"{left}{low}, {high}{right}"


def _end(value: float) -> str:
    return f"{value:g}".replace("inf", "∞").replace("-", "−")


def notes(v: Verdict) -> str:
    """What else the reader must know: missing and failed runs, the values chosen, the estimate without divergence."""
    parts = [f"{v.missing} runs missing"] if v.missing else []
    parts += [f"{count} runs {share}" for share in SHARES if (count := getattr(v, share))]
    parts += [f"chosen by validation error: {v.chosen}"] if v.chosen else []
    if v.converged_n:
        sign = "+" if v.is_difference else ""
        without = interval(v.converged_estimate, v.converged_low, v.converged_high, sign)
        parts.append(f"converged only: {without}, n = {v.converged_n}")
    return "; ".join(parts)


# Errors --------------------------------------------------------------------------------------------------------


def error_table(measured: Measured) -> Table:
    """One row per cell, which is everything but the seed: each measured error as mean ± half its t interval."""
    settings = varying(measured.runs, measured.settings)
    metrics = [m for m in ERRORS if measured.runs[m].notna().any()]
    numbers = [_error_row(cell, runs, metrics) for cell, runs in cells(measured.runs, settings)]
    head = [*((k, "") for k in settings), ("n", ""), *(QUANTITIES[q].column for q in (*metrics, *SHARES))]
    rows = [
        [
            *(text(row[k]) for k in settings),
            str(row["n"]) if row["n"] == row["planned"] else f"{row['n']} of {row['planned']}",
            *(_plus_minus(row[f"{m}_mean"], row[f"{m}_half"]) for m in metrics),
            *(str(row[s]) for s in SHARES),
        ]
        for row in numbers
    ]
    fixed = [k for k in measured.settings if k not in {*settings, "seed", "data"}]
    caption = (
        f"Errors of {measured.experiment.id} on {measured.data}: mean ± half the 95 % t interval over n seeds; a "
        f"diverged run counts as 100 %. Fixed: {', '.join(f'{k} {text(measured.runs[k].iloc[0])}' for k in fixed)}."
    )
    align = "l" * len(settings) + "r" * (1 + len(metrics) + len(SHARES))
    return Table("errors", "Errors", caption, head, rows, numbers, align)


def _error_row(cell: dict[str, Any], runs: "pd.DataFrame", metrics: Sequence[str]) -> dict[str, Any]:
    done = runs[runs["measured"]]
    row = cell | {"planned": len(runs), "n": len(done)}
    for metric in metrics:
        e = t_interval(done[metric].dropna().tolist())
        row |= {f"{metric}_mean": round(e.mean, 6), f"{metric}_half": round((e.high - e.low) / 2, 6)}
    return row | {share: int((done[share] == 1).sum()) for share in SHARES}


def _plus_minus(mean: float, half: float) -> str:
    return "–" if math.isnan(mean) else _two(mean) + ("" if math.isinf(half) else f" ± {_two(half)}")


# Beside the papers ---------------------------------------------------------------------------------------------


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
    head = [
        *settings,
        "metric",
        "ours [95 % interval]",
        "n",
        "paper",
        "difference",
        "ours differs in (paper)",
        "source",
    ]
    rows = [[*(text(row[k]) for k in settings), *_compared(row)] for row in numbers]
    caption = (
        f"{measured.experiment.id} on {measured.data} beside the papers, in percent; the metric failed is the share of "
        "seeds with a test error above 20 %."
    )
    align = "l" * len(settings) + r"llrlrp{3.6cm}p{2.6cm}"
    return Table("paper", "Beside the papers", caption, [(h, "") for h in head], rows, numbers, align)


def _same_network(number: dict[str, Any], settings: dict[str, Any]) -> bool:
    same = all(number[k] == settings[k] for k in ("model", "depth", "norm"))
    return same and number["shortcut_scale"] in (None, settings["shortcut_scale"])


def _beside(cell: dict[str, Any], runs: "pd.DataFrame", number: dict[str, Any]) -> dict[str, Any]:
    ours = mean_of(number["metric"], runs[number["metric"]].dropna().tolist()).rounded()
    return cell | {
        "metric": number["metric"],
        "ours": ours.mean,
        "low": ours.low,
        "high": ours.high,
        "n": ours.n,
        "paper": number["value"],
        "paper_sd": number["sd"],
        "paper_n": number["n"],
        "difference": round(ours.mean - number["value"], 6),
        "differs": published.differences(dict(runs.iloc[0]), number["source"]),
        "source": number["source"],
        "note": number["note"],
    }


def _compared(row: dict[str, Any]) -> list[str]:
    ours = interval(row["ours"], row["low"], row["high"])
    spread = "" if row["paper_sd"] is None else f" ± {row['paper_sd']:.2f}"
    paper = f"{row['paper']:.2f}{spread}" + (f" (n = {row['paper_n']})" if row["paper_n"] > 1 else "")
    source = "; ".join(filter(None, (row["source"], row["note"])))
    differs = row["differs"] or "nothing"
    return [row["metric"], ours, str(row["n"]), paper, _two(row["difference"], "+"), differs, source]
