"""Whether a run that has begun saw the data that are here now: what is saved is trusted for its own input only.

The hash of the data stands in run.json, in the checkpoint and in the record. No torch here: a sweep asks before it
trains, also when all its runs are finished.
"""

import itertools
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnet_repro import records, sources
from resnet_repro.config import Measure, Run
from resnet_repro.errors import UserError, sentence
from resnet_repro.planning import Planned

log = logging.getLogger(__name__)


class OtherData(UserError):  # noqa: N818
    """A run's record or checkpoint comes from other data than those that it would be trained on now."""

    def __init__(self, run: Run, place: Path, seen: str, here: str) -> None:
        super().__init__(
            f"{place} was trained on other data: {run.data.title!r} is {here[:10]} (data_sha256) in "
            f"{run.env.data_dir} now and was {seen[:10]} then. Either give these data another data.title, which makes "
            f"it another run, or move {place} away, or set env.data_dir to the folder of the old data."
        )


class Present:
    """The data sets on this machine, each looked at once."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, str, bool], str | UserError] = {}

    def sha256(self, run: Run) -> str:
        """The hash of a run's data as they are now. Raises MissingData, or UserError for data that are damaged."""
        name = run.data.name, run.env.data_dir, run.data.stream
        if name not in self.told:
            self.told[name] = _asked(run)
        told = self.told[name]
        if isinstance(told, UserError):
            raise told
        return told


def _asked(run: Run) -> str | UserError:
    try:
        return sources.sha256(run.data.name, Path(run.env.data_dir), run.data.stream)
    except sources.MissingData as error:
        words = "%s is not on this machine: runs on it that are finished or interrupted are not compared with it"
        log.warning(words, run.data.title)
        return error
    except UserError as error:
        return error


def seen(place: Path) -> str | None:
    """The hash of the data that a run's record or checkpoint comes from; None without these, or where it is unsaid."""
    record = records.read(place)
    if record is not None:
        return record["provenance"].get("data_sha256")
    if not any(place.glob("checkpoint-*.ckpt")):
        return None
    try:
        return json.loads((place / "run.json").read_text(encoding="utf-8")).get("data_sha256")
    except (FileNotFoundError, ValueError):
        return None


def check(run: Run, place: Path, present: Present) -> None:
    """Raises OtherData where the run is finished or interrupted and saw other data than are present.

    Where the data are not on this machine nothing can be compared; that is told, and the run is trusted.
    """
    before = seen(place)
    if before is None:
        return
    try:
        here = present.sha256(run)
    except sources.MissingData:
        return
    if here != before:
        raise OtherData(run, place, before, here)


def record(run: Run, place: Path, present: Present) -> dict[str, Any] | None:
    """The run's record, None where it is to be trained, or measured. Raises what `check` does, and where its folder is
    unusable.
    """
    check(run, place, present)
    found = records.complete(run, place.name)
    if found is None:
        records.check_writable(place)
    return found


def unmeasured(planned: Sequence[Planned]) -> str:
    """What is said of the finished runs of a plan that lack a measurement asked for; empty where none does."""
    asking = [plan for plan in planned if plan.run.measure != Measure()]
    found = [(plan, records.read(records.folder(plan.run, plan.id))) for plan in asking]
    lacks = [records.lacking(record, plan.run.measure) for plan, record in found if record is not None]
    if not any(lacks):
        return ""
    what = ", ".join(dict.fromkeys(itertools.chain(*lacks)))
    return (
        f"of the finished, {sum(map(bool, lacks))} lack {what}, and are measured again: on the network kept where "
        "that is enough, else trained again to the same bits; what they were stays in superseded-* beside"
    )


def refused(planned: Sequence[Planned]) -> dict[str, str]:
    """What to say of each run of a plan that `record` raises an error for that is the user's to mend, by run."""
    present, found = Present(), {}
    for plan in planned:
        place = records.folder(plan.run, plan.id)
        try:
            records.is_locked(place)  # its lock may belong to another user
            record(plan.run, place, present)
        except (UserError, OSError) as error:
            words = sentence(error)
            if words is None:
                raise
            found[plan.id] = words
    return found
