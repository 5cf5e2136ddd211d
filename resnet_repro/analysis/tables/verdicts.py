"""The verdict of every claim: the sentence, what was measured, the estimate, the region."""

import math
from collections.abc import Sequence
from dataclasses import asdict

from resnet_repro.analysis import words
from resnet_repro.analysis.frames import Measured
from resnet_repro.analysis.tables.shown import interval, lines, outcomes, single, stacked, without
from resnet_repro.analysis.typeset import Layout, Table
from resnet_repro.analysis.verdicts import UNTESTED, Verdict
from resnet_repro.metrics import SHARES

ESTIMATE = "estimate [95 % interval]"


def verdict_table(verdicts: Sequence[Verdict], measured: Measured) -> Table:
    """One row per claim: the sentence, what was measured, the estimate with its 95 % interval, region and verdict."""
    about = [_measured(v, measured) for v in verdicts]
    full = _full(verdicts, about)
    layouts = [full, _wide(verdicts, about), _column(verdicts)]
    if len({v.n for v in verdicts}) < 2:  # the caption says it
        layouts = [without(layout, "n") for layout in layouts]
    return Table(
        measured.experiment.id,
        "verdicts",
        "Verdicts",
        _caption(verdicts, measured),
        layouts[0].head,
        layouts[0].rows,
        [asdict(v) for v in verdicts],
        wide=layouts[1],
        column=layouts[2],
    )


def _full(verdicts: Sequence[Verdict], about: Sequence[str]) -> Layout:
    rows = [
        [str(i), v.says, what, estimate(v), str(v.n), region(v), v.verdict, notes(v)]
        for i, (v, what) in enumerate(zip(verdicts, about, strict=True), 1)
    ]
    return Layout(single(["", "claim", "measured", ESTIMATE, "n", "region", "verdict", "notes"]), rows, ["l"] * 8)


def _wide(verdicts: Sequence[Verdict], about: Sequence[str]) -> Layout:
    rows = [
        [str(i), v.says, lines(what, notes(v)), stacked(estimate(v)), str(v.n), region(v), v.verdict]
        for i, (v, what) in enumerate(zip(verdicts, about, strict=True), 1)
    ]
    head = ["", "claim", "measured", stacked(ESTIMATE), "n", "region", "verdict"]
    return Layout(single(head), rows, ["r", "X", "X", "l", "r", "l", "l"])


def _column(verdicts: Sequence[Verdict]) -> Layout:
    """What was measured stands below the sentence where the metrics differ; of which runs, the sentence says."""
    alike = len({v.metric for v in verdicts}) < 2
    below = ["; ".join(filter(None, ("" if alike else words.quantity(v.metric), notes(v)))) for v in verdicts]
    rows = [
        [str(i), lines(v.says, below[i - 1]), stacked(estimate(v)), str(v.n), f"{v.verdict}\n{region(v)}"]
        for i, v in enumerate(verdicts, 1)
    ]
    head = ["", "claim", stacked(ESTIMATE), "n", "verdict\n(region)"]
    return Layout(single(head), rows, ["r", "X", "l", "r", "l"])


def _measured(v: Verdict, measured: Measured) -> str:
    """`training error, clean: plain net, depth 56 minus depth 20`."""
    claim = next(claim for claim in measured.experiment.claims if claim.id == v.claim)
    return f"{words.quantity(v.metric)}: {words.difference(claim.of, claim.minus)}"


def _caption(verdicts: Sequence[Verdict], measured: Measured) -> str:
    metrics, seeds = {v.metric for v in verdicts}, {v.n for v in verdicts}
    n = f", {seeds.pop()} seeds" if len(seeds) == 1 else ", n seeds" if seeds else ""
    parts = [measured.experiment.question, f"Verdicts on {measured.data}{n}."]
    if len(metrics) == 1:
        parts.append(f"Measured: {words.quantity(*metrics)}.")
    parts += [said for kind, said in ESTIMATES.items() if any(_kind(v) == kind for v in verdicts)]
    parts.append(outcomes(share for share in SHARES if any(_count(v, share) for v in verdicts)))
    parts += [DIVERGED] if any(math.isinf(v.estimate) for v in verdicts) else []
    parts.append("Supported: the interval lies within the region; refuted: outside; inconclusive: across an end.")
    if any(v.changes_without == UNTESTED and v.verdict != "incomplete" for v in verdicts):
        parts.append("Whether a verdict holds without any one of its seeds cannot be tested with so few.")
    parts += [STANDINGS[kind] for kind in STANDINGS if any(v.standing == kind for v in verdicts)]
    return " ".join(filter(None, parts))


ESTIMATES = {
    "median": "Medians over seeds have intervals of order statistics.",
    "difference": "A difference is the median over all pairs of a run of each side, with the interval and the exact p "
    "of the rank-sum test.",
    "share": "Shares of seeds have exact binomial intervals.",
}
DIVERGED = "∞: a run that diverged is worse than any number."
STANDINGS = {
    "registered": "Registered: every run was told of the claim, as it is, when it began.",
    "exploratory": "Exploratory where not registered: that the claim stood before its runs is not recorded.",
}


def _kind(v: Verdict) -> str:
    return "share" if v.metric in SHARES else "difference" if v.is_difference else "median"


def _count(v: Verdict, share: str) -> int:
    """How many runs of both sides."""
    return getattr(v, share) + getattr(v, f"{share}_minus")


def estimate(v: Verdict) -> str:
    """`+4.40 [+3.90, +4.90]`, of no difference `0.80 [0.28, 0.99]`."""
    return interval(v.estimate, v.low, v.high, "+" if v.is_difference else "")


def region(v: Verdict) -> str:
    """The region as an interval: `(0, ∞)` without its ends, `[0, 1]` with them."""
    low, high = (_end(x) for x in (v.region_low, v.region_high))
    left = "(" if v.is_difference or low == "−∞" else "["
    right = ")" if v.is_difference or high == "∞" else "]"
    return f"{left}{low}, {high}{right}"


def _end(value: float) -> str:
    return f"{value:g}".replace("inf", "∞").replace("-", "−")


def notes(v: Verdict) -> str:
    """What else the reader must know: why there is no answer, missing and failed runs, values chosen, how sure."""
    parts = [v.why, f"{_runs(v.missing)} missing" if v.missing else ""]
    parts += _outcomes(v)
    parts += [f"{_chosen(v)}, by {words.quantity(v.best_by)}"] if v.chosen else []
    parts += [f"the first is higher in {100 * v.above:.0f} % of pairs, p {_p(v.p)}"] if not math.isnan(v.above) else []
    parts += [changes(v)] if v.changes_without not in ("", UNTESTED) else []
    parts += [f"registered at commit {v.since}"] if v.since else []
    return "; ".join(filter(None, parts))


def _outcomes(v: Verdict) -> list[str]:
    """`2 runs failed`; of a difference `failed 5 against 0, p = 0.0079`; none that says the same as the one before."""
    pairs = {share: (getattr(v, share), getattr(v, f"{share}_minus")) for share in SHARES if _count(v, share)}
    told = {pair: share for share, pair in reversed(pairs.items()) if share != v.metric}
    if not v.is_difference:
        return [f"{_runs(count)} {share}" for (count, _), share in told.items()]
    p = {(v.failed, v.failed_minus): f", p {_p(v.failed_p)}"} if v.failed_p < 1 else {}
    return [f"{share} {pair[0]} against {pair[1]}{p.get(pair, '')}" for pair, share in told.items()]


def _p(p: float) -> str:
    return f"= {p:.2g}" if p >= 0.001 else "< 0.001"


def changes(v: Verdict) -> str:
    """Without which seeds the verdict would be another one."""
    seeds = v.changes_without.split()
    if len(seeds) >= v.n:
        return f"not {v.verdict} without any one seed"
    return f"not {v.verdict} without seed {' or '.join(seeds)}"


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def _chosen(v: Verdict, between: str = "minus") -> str:
    """`learning rate 0.1 minus 0.0001`, of `of: lr 0.1; minus: lr 0.0001`."""
    sides = [side.split(" ") for side in v.chosen.split("; ")]
    return f"{words.setting(sides[0][1])} {f' {between} '.join(side[2] for side in sides)}"


def remark(number: int, v: Verdict) -> str:
    """What the text says of a claim that is not supported: why, and how many of its runs learned nothing.

    `Claim 4 is inconclusive: the interval [0.00, 1.05] crosses an end of the region [0, 1].` Empty for a supported one.
    """
    between = estimate(v).partition(" ")[2]
    why = {
        "refuted": f"is refuted: the interval {between} lies outside of the region {region(v)}",
        "inconclusive": f"is inconclusive: the interval {between} {_not_clear(v)}",
        "incomplete": f"cannot be decided yet: {_runs(v.missing)} of it {'are' if v.missing > 1 else 'is'} missing",
        "not answerable": f"is not answerable: {v.why}",
    }
    if v.verdict not in why:
        return ""
    used = v.n * (2 if v.is_difference else 1)
    stuck = f" Of its {_runs(used)}, {_count(v, 'stuck')} ended at chance." if _count(v, "stuck") else ""
    by = words.quantity(v.best_by) if v.best_by else ""
    chosen = f" Each side has the value with the lowest {by}, {_chosen(v, 'and')}." if v.chosen else ""
    return f"Claim {number} {why[v.verdict]}.{chosen}{stuck}"


def _not_clear(v: Verdict) -> str:
    if v.region_low < v.low and v.high < v.region_high:
        return f"lies within the region {region(v)}, but the exact test gives p {_p(v.p)}"
    return f"crosses an end of the region {region(v)}"
