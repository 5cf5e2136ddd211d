"""What was measured here beside what is committed: for each claim two verdicts, and whether they agree."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_repro.analysis.verdicts import Verdict, read_verdicts

ASKED = ("metric", "of", "minus", "region_low", "region_high")
"""What must be equal for two verdicts to answer one question."""
NUMBERS = ("estimate", "low", "high", "n")


@dataclass(frozen=True)
class Pair:
    """A claim's verdict here (yours) and the committed one (ours, None where there is none)."""

    yours: Verdict
    ours: Verdict | None

    @property
    def answer(self) -> str:
        """`agrees`, `agrees, to the digit`, `disagrees`, or why that cannot be said."""
        if self.ours is None:
            return "not committed"
        if any(getattr(self.yours, key) != getattr(self.ours, key) for key in ASKED):
            return "asked differently"
        if "incomplete" in (self.yours.verdict, self.ours.verdict):
            return f"open: n = {self.yours.n} here, {self.ours.n} committed"
        if self.yours.verdict != self.ours.verdict:
            return "disagrees"
        same = all(getattr(self.yours, key) == getattr(self.ours, key) for key in NUMBERS)
        return "agrees, to the digit" if same else "agrees"


@dataclass(frozen=True)
class Beside:
    """The pairs of an experiment's claims, and what differs in what was measured, in sentences."""

    pairs: Sequence[Pair]
    remarks: Sequence[str]

    def summary(self) -> str:
        """`This machine agrees on 7 of 8 claims, 4 of them to the digit.`, and how many are open."""
        answers = [pair.answer for pair in self.pairs]
        agreeing = [answer for answer in answers if answer.startswith("agrees")]
        digits = sum("digit" in answer for answer in agreeing)
        if all(answer.startswith("open") for answer in answers):
            return f"All {len(answers)} claims are still open here."
        parts = [f"This machine agrees on {len(agreeing)} of {len(answers)} claims"]
        parts += [f"{digits} of them to the digit"] if digits else []
        counts = {
            "disagrees on": answers.count("disagrees"),
            "not comparable:": sum(answer in ("asked differently", "not committed") for answer in answers),
            "still open:": sum(answer.startswith("open") for answer in answers),
        }
        return ", ".join([*parts, *(f"{words} {count}" for words, count in counts.items() if count)]) + "."


def compare(verdicts: Sequence[Verdict], folder: Path, committed: Path) -> Beside:
    """The verdicts on the data in folder/data beside those in the committed folder."""
    ours = {verdict.claim: verdict for verdict in read_verdicts(committed / "verdicts.csv")}
    pairs = [Pair(verdict, ours.get(verdict.claim)) for verdict in verdicts]
    return Beside(pairs, _remarks(_runs(folder), _runs(committed)))


def _runs(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "data" / "runs.csv", newline="", encoding="utf-8") as file:
        return {row["run_id"]: row for row in csv.DictReader(file)}


def _remarks(yours: Mapping[str, Mapping[str, str]], ours: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Where what was measured is not the same: runs, images, devices."""
    remarks = []
    if len(yours) < len(ours):
        remarks.append(f"{len(yours)} runs are measured here, {len(ours)} committed.")
    if other := sum(name not in ours for name in yours):
        remarks.append(f"{other} runs here have other settings or seeds than any committed one.")
    if _values(yours, "data_sha256") != _values(ours, "data_sha256"):
        remarks.append("The images differ (data_sha256), so equal verdicts are not to be expected.")
    here, there = (", ".join(sorted(_values(runs, "device"))) for runs in (yours, ours))
    if here != there:
        remarks.append(f"Measured on {here} here, on {there} there: rounding differs, as with another seed.")
    return remarks


def _values(runs: Mapping[str, Mapping[str, str]], column: str) -> set[str]:
    return {row[column] for row in runs.values() if row[column]}
