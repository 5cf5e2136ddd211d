"""What earlier measurements said of the claims: results/<id>/data/history.csv, where `publish` keeps it."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from resnet_repro.analysis.tables.shown import interval
from resnet_repro.analysis.typeset import Head, markdown
from resnet_repro.analysis.verdicts import Verdict
from resnet_repro.records import write_atomically

FILE = "history.csv"
COPIED = (
    "claim",
    "says",
    "metric",
    "of",
    "minus",
    "region_low",
    "region_high",
    "estimate",
    "low",
    "high",
    "n",
    "verdict",
)
COLUMNS = ("until", "commit", "device", "procedure", *COPIED)
PROCEDURES = ("means, Student's t, paired by seed", "medians and ranks, unpaired")
"""Of version 0.1, and since."""


def keep(folder: Path, until: str) -> None:
    """Appends the verdicts in folder/verdicts.csv to folder/data/history.csv.

    until: the day on which they are replaced. They may be those of another version; where there are none nothing is
    appended.
    """
    if not (folder / "verdicts.csv").exists():
        return
    runs = _rows(folder / "data" / "runs.csv")
    told = {name: " ".join(sorted({row[name] for row in runs})) for name in ("commit", "device")}
    old = [
        {**row, **told, "until": until, "procedure": PROCEDURES["standing" in row]}
        for row in _rows(folder / "verdicts.csv")
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows([*earlier(folder), *old])
    write_atomically(folder / "data" / FILE, text.getvalue().encode())


def earlier(folder: Path) -> list[dict[str, str]]:
    """The rows of folder/data/history.csv, the oldest first; none where nothing was replaced yet."""
    path = folder / "data" / FILE
    return _rows(path) if path.exists() else []


def section(rows: Sequence[Mapping[str, str]], verdicts: Sequence[Verdict]) -> list[str]:
    """The part of a page that shows them, claim by claim; empty where there are none."""
    if not rows:
        return []
    return [
        "## Earlier measurements",
        markdown(*earlier_table(rows, verdicts)),
        f"What is committed of this experiment took their place. [CSV](data/{FILE})",
    ]


def earlier_table(rows: Sequence[Mapping[str, str]], verdicts: Sequence[Verdict]) -> tuple[Head, list[list[str]]]:
    """Head and rows of the table of these rows of history.csv, claim by claim, with the verdict now."""
    now = {v.claim: v.verdict for v in verdicts}
    order = list(dict.fromkeys([*now, *(row["claim"] for row in rows)]))
    shown = [
        [row["says"], _estimate(row), row["n"], row["procedure"], f"{row['device']}, {row['commit']}", row["until"],
         row["verdict"], now.get(row["claim"], "no longer asked")]
        for row in sorted(rows, key=lambda row: order.index(row["claim"]))
    ]  # fmt: skip
    head = ("claim", "estimate [95 % interval]", "n", "decided by", "measured on", "until", "verdict then", "now")
    return [(name, "") for name in head], shown


def of_claim(rows: Sequence[Mapping[str, str]], v: Verdict) -> str:
    """What these rows of history.csv say of one claim, the oldest first; and in what words, where those were others."""
    said, parts = v.says, []
    for row in rows:
        if row["claim"] == v.claim:
            words = "" if row["says"] == said else f" (as: {row['says'].rstrip('.')})"
            parts.append(f"{row['verdict']} until {row['until']}, {_estimate(row)}, n = {row['n']}{words}")
            said = row["says"]
    return "; ".join(parts)


def _estimate(row: Mapping[str, str]) -> str:
    value, low, high = (float(row[name]) for name in ("estimate", "low", "high"))
    return interval(value, low, high, "+" if row["minus"] else "")


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
