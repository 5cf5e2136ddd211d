"""What the page of an experiment says of one claim."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from resnet_repro.analysis import tables, words
from resnet_repro.analysis.frames import Measured
from resnet_repro.analysis.history import of_claim
from resnet_repro.analysis.reasons import remark
from resnet_repro.analysis.verdicts import UNTESTED, Verdict
from resnet_repro.experiment import Claim
from resnet_repro.metrics import QUANTITIES, SHARES
from resnet_repro.power import FOUND, power


@dataclass(frozen=True)
class Bar:
    """Where the interval lies beside the region, in percent of the width of a picture; `zero` where that is in it."""

    low: float
    estimate: float
    high: float
    region_low: float
    region_high: float
    zero: float | None


@dataclass(frozen=True)
class Card:
    """number: the claim's on its page, from 1. bar: None where nothing was measured. facts: what else there is to say,
    each with its name."""

    number: int
    verdict: Verdict
    estimate: str
    region: str
    bar: Bar | None
    facts: dict[str, str]


def card(number: int, v: Verdict, measured: Measured, earlier: Sequence[Mapping[str, str]]) -> Card:
    """The words and the picture of one claim. earlier: the rows of history.csv."""
    claim = next(claim for claim in measured.experiment.claims if claim.id == v.claim)
    facts = {
        "measured": QUANTITIES[v.metric].label,
        "of": words.difference(claim.of, claim.minus) + ("" if claim.at is None else f", at step {claim.at}"),
        "why": remark(measured.experiment.id, number, v),
        "also": tables.notes(replace(v, why="", changes_without="", since="")),  # which are said apart
        "the paper": claim.paper,
        "power": _power(claim, measured),
        "stability": _stability(v),
        "standing": _standing(v),
        "earlier": of_claim(earlier, v),
    }
    return Card(
        number, v, tables.estimate(v), tables.region(v), _bar(v), {k: said for k, said in facts.items() if said}
    )


def _power(claim: Claim, measured: Measured) -> str:
    """How large an effect so many seeds find; empty where the claim names none of interest."""
    sides = [measured.select(where) for where in (claim.of, claim.minus) if where is not None]
    found = power(claim, *(side["seed"].nunique() for side in sides))
    if found is None or claim.smallest_effect is None:
        return ""
    effect = f"a truth {claim.smallest_effect:g} inside the region"
    if claim.metric in SHARES:
        return f"{effect} is found in {100 * found:.0f} % of sweeps"
    return f"{effect} is found in {100 * FOUND:.0f} % of sweeps if seeds spread by at most {found:.2g} (SD)"


def _stability(v: Verdict) -> str:
    if v.changes_without == UNTESTED:
        return "" if v.verdict == "incomplete" else "not tested: fewer seeds decide nothing"
    return tables.changes(v) if v.changes_without else f"{v.verdict} without any one of its seeds, too"


def _standing(v: Verdict) -> str:
    if v.standing == "registered":
        return f"registered: every run was told of the claim when it began (code of commit {v.since})"
    return "exploratory: that the claim stood before its runs is not recorded"


def _bar(v: Verdict) -> Bar | None:
    """The picture, wide enough for the interval, the finite ends of the region, and 0 of a difference."""
    interval = (v.low, v.estimate, v.high)
    if not all(map(math.isfinite, interval)):
        return None
    zero = [0.0] if v.is_difference else []
    ends = [end for end in (v.region_low, v.region_high) if math.isfinite(end)]
    shown = [*interval, *ends, *zero]
    margin = 0.08 * (max(shown) - min(shown)) or 1.0
    left, right = min(shown) - margin, max(shown) + margin

    def place(value: float) -> float:
        return round(100 * (min(max(value, left), right) - left) / (right - left), 2)

    low, estimate, high = map(place, interval)
    return Bar(low, estimate, high, place(v.region_low), place(v.region_high), place(0.0) if zero else None)
