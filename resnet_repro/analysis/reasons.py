"""Why a claim was not supported, in a sentence written by hand: reasons.yaml."""

from pathlib import Path

from resnet_repro import documents
from resnet_repro.analysis.verdicts import Verdict

REASONS = Path(__file__).parent / "reasons.yaml"


def reason(experiment: str, v: Verdict) -> str:
    """Why the claim has this verdict; empty where no sentence is known, or it was written for another verdict."""
    known = documents.read(REASONS).get(f"{experiment}/{v.claim}")
    return known["says"] if known and known["verdict"] == v.verdict else ""
