"""Hydra's overrides, read: what each says, and the cells of a sweep over several values.

No setting is looked up here; what an override does to a run: settings.py.
"""

import itertools
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, RangeSweep, ValueType
from hydra.errors import HydraException

from resnet_repro.config import ConfigError
from resnet_repro.typed import shown

CELLS = 100_000
"""Runs in one sweep at most: a mistyped range is refused at once, instead of filling the memory."""
LONGEST = 10_000
"""Characters of an override: Hydra's parser takes a second for them, and four times that for twice as many."""


def parse(overrides: Sequence[str]) -> list[Override]:
    """Hydra overrides, parsed; those of Hydra's own settings (`hydra...`) are left out.

    Raises ConfigError for what Hydra's grammar refuses, and for additions and deletions (`+`, `~`):
    a run has a fixed set of settings.
    """
    return [o for o in map(parse_one, overrides) if not of_hydra(o)]


def of_hydra(override: Override) -> bool:
    """Whether it is one of Hydra's own settings (`hydra.verbose=true`, `hydra/launcher=basic`)."""
    return re.split("[./]", override.key_or_group)[0] == "hydra"


@lru_cache(maxsize=2**17)
def parse_one(text: str) -> Override:
    """One override, parsed. Raises ConfigError."""
    if simple := re.fullmatch(r"([a-z_]+(?:\.[a-z_]+)*)=(0|-?[1-9][0-9]{0,17})", text):  # Hydra's parser takes 1 ms
        key, value = simple.groups()
        return Override(OverrideType.CHANGE, key, ValueType.ELEMENT, int(value), input_line=text)
    if len(text) > LONGEST:
        raise ConfigError(f"{shown(text)} is too long: at most {LONGEST} characters; name fewer values, or a range")
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except (HydraException, RecursionError, ValueError) as error:  # ValueError: a number of 5,000 digits
        example = "'env.runs_dir=\"~/runs\"'" if "=~" in text else "model.depth=56"
        raise ConfigError(f"{shown(text)} cannot be read: write key=value, for example {example}") from error
    if override.is_add() or override.is_delete():
        raise ConfigError(
            f"{shown(text)}: settings cannot be added or removed; write key=value with a key of "
            "`python -m resnet_repro.train --cfg job`"
        )
    return override


def product(overrides: Sequence[str]) -> list[list[str]]:
    """The cells of a Hydra sweep: `["seed=0,1", "task=digits"]` gives two lists of single-valued overrides.

    Raises ConfigError for more than CELLS of them.
    """
    axes = [_values(o) for o in parse(overrides)]
    check_count(math.prod(map(len, axes)))
    return [list(cell) for cell in itertools.product(*axes)]


def check_count(cells: float) -> None:
    """Refuses a sweep of too many cells; asked before they are made."""
    if not cells <= CELLS:
        raise ConfigError(
            f"{cells:,.0f} runs in one sweep; at most {CELLS:,}: name fewer values, or make several sweeps"
        )


def _values(override: Override) -> list[str]:
    """The overrides of one value each that a sweep override stands for."""
    if not override.is_sweep_override():
        return [override.input_line or ""]
    try:
        _check_range(override.value())
        values = [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]
    except (HydraException, ArithmeticError) as error:  # glob(*), interval(0, 1), range(0, nan)
        raise ConfigError(f"{shown(override.input_line)}: write out the values, as in seed=0,1,2") from error
    if not values:
        raise ConfigError(f"{shown(override.input_line)} names no value: write them out, as in seed=0,1,2")
    return values


def _check_range(sweep: Any) -> None:
    if isinstance(sweep, RangeSweep):
        assert sweep.start is not None
        assert sweep.stop is not None
        check_count(abs(sweep.stop - sweep.start) / abs(sweep.step))
