"""Why a claim was not supported, in a sentence written by hand: reasons.yaml."""

from functools import cache
from pathlib import Path
from typing import Any

from resnet_repro import documents
from resnet_repro.analysis import tables
from resnet_repro.analysis.verdicts import Verdict

REASONS = Path(__file__).parent / "reasons.yaml"


def reason(experiment: str, v: Verdict) -> str:
    """Why the claim has this verdict; empty where no sentence is known, or it was written for another verdict."""
    known = _known().get(f"{experiment}/{v.claim}")
    return known["says"] if known and known["verdict"] == v.verdict else ""


def remark(experiment: str, number: int, v: Verdict) -> str:
    """What is said of a claim that is not supported (`tables.remark`), and the reason where one is known."""
    return " ".join(filter(None, (tables.remark(number, v), reason(experiment, v))))


@cache
def _known() -> dict[str, Any]:
    return documents.read(REASONS)
