"""What is said of a claim: one row of verdicts.csv, and how the file is read."""

import csv
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

VERDICTS = ("supported", "refuted", "inconclusive", "incomplete", "not answerable")
UNTESTED = "untested"


@dataclass(frozen=True)
class Verdict:
    """What the measurements say of a claim; one row of verdicts.csv.

    estimate, low, high: the median over seeds (or share, or median difference of a run of each side) and its 95 %
        interval; n: the seeds, of the side that has fewer.
    why: the reason, where the claim is not answerable.
    missing: selected runs that were not measured.
    diverged, stuck, failed: how many runs of the side `of` were, and of the side `minus`; failed_p: the exact test of
        whether the one fails more often than the other.
    above: the share of pairs in which the run of `of` has the higher value; p: the exact test of whether there is a
        difference at all.
    chosen: the values taken by `best_over`; best_by: the metric that they were chosen by.
    changes_without: the seeds without any one of which the verdict would be another; or that this is UNTESTED.
    standing: `registered` where every run knew this claim when it began, else `exploratory`; since: the commits of
        the code that trained them.
    """

    claim: str
    says: str
    metric: str
    of: str
    minus: str
    chosen: str
    best_by: str
    estimate: float
    low: float
    high: float
    n: int
    region_low: float
    region_high: float
    verdict: str
    why: str
    missing: int
    diverged: int
    stuck: int
    failed: int
    diverged_minus: int
    stuck_minus: int
    failed_minus: int
    failed_p: float
    above: float
    p: float
    changes_without: str
    standing: str
    since: str

    @property
    def is_difference(self) -> bool:
        return bool(self.minus)


def is_current(path: Path) -> bool:
    """Whether a verdicts.csv is there and was written by this version, and not by one that said other things."""
    with suppress(FileNotFoundError), open(path, newline="", encoding="utf-8") as file:
        return next(csv.reader(file), []) == [f.name for f in fields(Verdict)]
    return False


def read_verdicts(path: Path) -> list[Verdict]:
    """The verdicts of a verdicts.csv; needs no pandas."""
    kinds: dict[str, Any] = {f.name: f.type for f in fields(Verdict)}
    with open(path, newline="", encoding="utf-8") as file:
        return [Verdict(**{k: kinds[k](v) for k, v in row.items()}) for row in csv.DictReader(file)]
