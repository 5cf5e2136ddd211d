"""The claims while a sweep runs: decided by analysis.claims.decide, on the records that exist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_repro import planning, records
from resnet_repro.analysis import claims, frames, verdicts
from resnet_repro.analysis.tables import estimate
from resnet_repro.collect import row
from resnet_repro.config import columns
from resnet_repro.experiment import Claim, Experiment
from resnet_repro.metrics import SUMMARIES
from resnet_repro.planning import Planned, selects
from resnet_repro.stats import FEWEST


@dataclass(frozen=True)
class Leaning:
    """What the seeds so far say of a claim.

    final: no run that it needs is missing, and verdict is that of `decide`. Before, too few seeds decide anything, and
    verdict says whether the estimate lies within the region or outside.
    """

    claim: str
    verdict: str
    final: bool
    n: int
    planned: int
    estimate: str

    @property
    def words(self) -> str:
        """`supported`; while runs are missing `leaning supported`, or `open`."""
        if self.final:
            return self.verdict
        return f"leaning {self.verdict}" if self.verdict in ("supported", "refuted") else "open"


class Claims:
    """The claims of an experiment over its own grid; none where the plan has runs that the grid does not."""

    def __init__(self, experiment: Experiment | None, planned: Sequence[Planned]) -> None:
        self.experiment = experiment
        own = planning.plan(experiment) if experiment is not None and experiment.claims else []
        if not {plan.id for plan in planned} <= {plan.id for plan in own}:
            own = []
        self.settings = [(plan, columns(plan.run)) for plan in own]
        self.runs_dir = Path(planned[0].run.env.runs_dir)
        self.decided: dict[str, tuple[set[str], Leaning]] = {}

    def lean(self, read: Mapping[str, dict[str, Any]]) -> list[Leaning]:
        """What the records say now. read: those already read, by run; of other runs of the grid they are read here."""
        if self.experiment is None or not self.settings:
            return []
        rows = {}
        for plan, _ in self.settings:
            record = read.get(plan.id) or records.read(self.runs_dir / plan.id)
            if record is not None:
                rows[plan.id] = row(plan, record)
        return [self._lean(self.experiment, claim, rows) for claim in self.experiment.claims]

    def _lean(self, experiment: Experiment, claim: Claim, rows: Mapping[str, dict[str, Any]]) -> Leaning:
        """As if only the runs that there are had been asked for; the last answer where there are no others."""
        sides = [side for side in (claim.of, claim.minus) if side is not None]
        asked = [plan for plan, settings in self.settings if any(selects(side, settings) for side in sides)]
        there = [plan for plan in asked if plan.id in rows]
        names = {plan.id for plan in there}
        if claim.id not in self.decided or self.decided[claim.id][0] != names:
            seeds = len({plan.run.seed for plan in asked})
            leaning = Leaning(claim.id, "incomplete", False, 0, seeds, "")
            if there:
                needs_points = claim.at is not None or claim.metric in SUMMARIES
                points = {p.id: records.read_points(self.runs_dir / p.id) for p in there if needs_points}
                measured = frames.joined(experiment, there, [rows[plan.id] for plan in there], points)
                v = claims.decide(claim, measured)
                final = len(there) == len(asked) and v.verdict != "incomplete"
                said = v.verdict if final else _leans(v)
                words = estimate(v) if v.n >= FEWEST else estimate(v).partition(" ")[0] if v.n else ""
                leaning = Leaning(claim.id, said, final, v.n, seeds, words)
            self.decided[claim.id] = names, leaning
        return self.decided[claim.id][1]


def _leans(v: verdicts.Verdict) -> str:
    """On which side of the region's border the estimate of two seeds or more lies."""
    if v.n < 2 or v.verdict == "not answerable":
        return "inconclusive"
    return "supported" if v.region_low < v.estimate < v.region_high else "refuted"
