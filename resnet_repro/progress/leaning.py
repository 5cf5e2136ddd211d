"""The claims while a sweep runs: decided by analysis.claims.decide, on the records that exist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resnet_repro import planning, records
from resnet_repro.analysis import claims, frames
from resnet_repro.analysis.tables import estimate
from resnet_repro.collect import row
from resnet_repro.experiment import Claim, Experiment
from resnet_repro.planning import Planned


@dataclass(frozen=True)
class Leaning:
    """What the seeds so far say of a claim. verdict: that of `decide`; final: no run that it needs is missing."""

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
        self.own = planning.plan(experiment) if experiment is not None and experiment.claims else []
        if not {plan.id for plan in planned} <= {plan.id for plan in self.own}:
            self.own = []
        self.runs_dir = Path(planned[0].run.env.runs_dir)

    def lean(self, read: Mapping[str, dict[str, Any]]) -> list[Leaning]:
        """What the records say now. read: those already read, by run; of other runs of the grid they are read here."""
        if self.experiment is None or not self.own:
            return []
        rows = []
        for plan in self.own:
            record = read.get(plan.id) or records.read(self.runs_dir / plan.id)
            if record is not None:
                rows.append(row(plan, record))
        measured = frames.joined(self.experiment, self.own, rows)
        return [_lean(claim, measured) for claim in self.experiment.claims]


def _lean(claim: Claim, measured: frames.Measured) -> Leaning:
    seeds = len(set(measured.select(claim.of)["seed"]))
    if not measured.runs["measured"].any():
        return Leaning(claim.id, "incomplete", False, 0, seeds, "")
    verdict = claims.decide(claim, measured)
    final = verdict.verdict != "incomplete"
    if not final:  # the same procedure, as if only the runs that there are had been asked for
        verdict = claims.decide(claim, replace(measured, runs=measured.runs[measured.runs["measured"]]))
    return Leaning(claim.id, verdict.verdict, final, verdict.n, seeds, estimate(verdict) if verdict.n else "")
