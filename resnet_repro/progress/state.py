"""What a sweep has done at one moment, read from the run folders, so it works for every launcher."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_repro import records
from resnet_repro.costs import Costs, makespan
from resnet_repro.planning import Planned

PRIOR_SECONDS = 30.0
"""The predicted pace counts as much as the pace seen in so many seconds, or in a tenth of what the plan takes."""


@dataclass
class Seen:
    """One run at one moment."""

    plan: Planned
    place: Path
    fraction: float = 0.0  # of its steps
    active: bool = False  # a process trains it now
    record: dict[str, Any] | None = None  # once it is finished
    left: float | None = None  # seconds, of an active one
    where: str = ""

    @property
    def mark(self) -> str:
        """`done`, `diverged`, `running` or `waiting`."""
        if self.record is not None:
            return "diverged" if self.record.get("status") == "diverged" else "done"
        return "running" if self.active else "waiting"


@dataclass
class Snapshot:
    """A sweep at one moment. `work` is the fraction of the whole cost that is done."""

    runs: list[Seen]
    work: float
    left: float | None  # seconds, None while there is nothing to judge by

    @property
    def running(self) -> list[Seen]:
        return [seen for seen in self.runs if seen.active]

    @property
    def done(self) -> int:
        return sum(seen.record is not None for seen in self.runs)


@dataclass
class Watch:
    """Looks at the folders of a plan; remembers what is finished, and when training began to be seen.

    at_once: how many runs go side by side, where that is known; else as many as were seen doing so.
    """

    planned: Sequence[Planned]
    costs: Costs = field(default_factory=lambda: Costs([]))
    at_once: int | None = None
    clock: Callable[[], float] = time.monotonic
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    began: tuple[float, float] | None = None  # when a run was first seen to run, and the work done by then
    most: int = 1

    def __post_init__(self) -> None:
        self.weights, self.in_seconds = self.costs.weights(self.planned)

    def look(self) -> Snapshot:
        """The state of the plan now."""
        runs = [self._seen(plan) for plan in self.planned]
        work = sum(seen.fraction * weight for seen, weight in zip(runs, self.weights, strict=True))
        active = sum(seen.active for seen in runs)
        self.most = max(self.most, active)
        if self.began is None and active:
            self.began = self.clock(), work
        return Snapshot(runs, work / (sum(self.weights) or 1.0), self._left(runs, work))

    def _seen(self, plan: Planned) -> Seen:
        place = records.folder(plan.run, plan.id)
        if plan.id not in self.records and (place / "record.json").exists():
            record = records.complete(plan.run, plan.id)
            if record is not None:
                self.records[plan.id] = record
        if plan.id in self.records:
            return Seen(plan, place, 1.0, record=self.records[plan.id])
        if not (place / "lock").exists():
            return Seen(plan, place)
        # The last interval is followed by the final measurement; 0.99 says so.
        fraction = min(records.last_step(place) / max(plan.run.optim.steps, 1), 0.99)
        return Seen(plan, place, fraction, active=records.is_locked(place))

    def _left(self, runs: Sequence[Seen], work: float) -> float | None:
        """Seconds until all is done: what is left, packed onto the slots, at the pace predicted and seen.

        Until something was seen the prediction alone counts, and without one nothing is promised.
        """
        slots = self.at_once or self.most
        rest = [(1 - seen.fraction) * weight for seen, weight in zip(runs, self.weights, strict=True)]
        elapsed, gained = (0.0, 0.0) if self.began is None else (self.clock() - self.began[0], work - self.began[1])
        if not self.in_seconds and (gained <= 0 or elapsed <= 3):
            return None
        prior = min(PRIOR_SECONDS, sum(self.weights) / slots / 10) if self.in_seconds else 0.0
        expected = gained / slots + prior
        pace = (elapsed + prior) / expected if expected > 0 and (gained > 0 or elapsed > 3) else 1.0
        for seen, seconds in zip(runs, rest, strict=True):
            seen.left = seconds * pace if seen.active else None
        begun = sorted((s for seen, s in zip(runs, rest, strict=True) if seen.active), reverse=True)
        waiting = sorted((s for seen, s in zip(runs, rest, strict=True) if not seen.active and s > 0), reverse=True)
        return makespan([*begun, *waiting], slots) * pace
