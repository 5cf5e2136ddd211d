"""Which sweeps run now: each says in its runs_dir what it trains, under a lock that it holds for as long as it runs."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from resnet_repro import records


@contextmanager
def told(name: str, overrides: Sequence[str], runs_dir: Path) -> Iterator[None]:
    """Says while the body runs that an experiment is swept with these overrides; of several sweeps of it one does."""
    place = _folder(name, runs_dir)
    with ExitStack() as held:
        with suppress(records.Busy):
            held.enter_context(records.lock(place))
            records.write_json(place / "overrides.json", list(overrides))
        yield


def overrides(name: str, runs_dir: Path) -> list[str]:
    """Those of the sweep of an experiment that runs now, but for its launcher's; none where no sweep does."""
    place = _folder(name, runs_dir)
    if not records.is_locked(place):
        return []
    try:
        told = json.loads((place / "overrides.json").read_text(encoding="utf-8"))
    except FileNotFoundError:  # it is about to say so
        return []
    return [text for text in told if not text.startswith("hydra")]


def _folder(name: str, runs_dir: Path) -> Path:
    return runs_dir / ".sweeps" / name
