"""How the settings of a run are written: Hydra overrides, read into a `Run` or refused with what to write instead.

`compose(["model.depth=56", "seed=3"])` is the run that these describe; `product` gives the cells of a sweep.
Nothing here imports torch, so planning a sweep starts at once.
"""

import copy
import difflib
import itertools
import math
from collections.abc import Sequence
from dataclasses import Field, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.config import ConfigError, Run, check

CONF = Path(__file__).resolve().parent.parent / "conf"
GROUPS = ("model", "task")
CELLS = 100_000
"""Runs in one sweep at most: a mistyped range is refused at once, instead of filling the memory."""


def compose(overrides: Sequence[str]) -> Run:
    """The run that these Hydra overrides describe.

    Raises ConfigError, before anything is computed, for an unknown key, an ill-typed or out-of-range value,
    and a combination that makes no sense.
    """
    groups: list[Override] = []
    values: list[Override] = []
    for override in parse(overrides):
        (groups if override.key_or_group in GROUPS else values).append(override)
    for override in groups:
        _check_group(override)
    cfg = copy.deepcopy(_composed(tuple(o.input_line or "" for o in groups)))
    for override in values:
        _set(cfg, override)
    return _checked(cfg)


def parse(overrides: Sequence[str]) -> list[Override]:
    """Hydra overrides, parsed; those of Hydra's own settings (`hydra...`) are left out.

    Raises ConfigError for what Hydra's grammar refuses, and for additions and deletions (`+`, `~`):
    a run has a fixed set of settings.
    """
    parsed = [_parse_one(text) for text in overrides]
    return [o for o in parsed if o.key_or_group.split(".")[0].split("/")[0] != "hydra"]


@lru_cache(maxsize=4096)
def _parse_one(text: str) -> Override:
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except HydraException as error:
        raise ConfigError(f"{text!r} cannot be read: write key=value, for example model.depth=56") from error
    if override.is_add() or override.is_delete():
        raise ConfigError(
            f"{text!r}: settings cannot be added or removed; write key=value with a key of "
            "`python -m resnet_repro.train --cfg job`"
        )
    return override


def _check_group(override: Override) -> None:
    options = sorted(path.stem for path in (CONF / override.key_or_group).glob("*.yaml"))
    if override.package is not None:
        raise ConfigError(f"{override.input_line!r}: a group's place is fixed; write {override.key_or_group}=...")
    if override.is_sweep_override():
        raise ConfigError(f"{override.input_line!r} names several values: add -m to train one run for each")
    if override.value() not in options:
        raise ConfigError(f"{override.key_or_group} must be one of {', '.join(options)}, got {override.value()!r}")


@lru_cache(maxsize=64)
def _composed(groups: tuple[str, ...]) -> DictConfig:
    """Hydra's composition of a choice of groups: 50 ms each, hence once."""
    application, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = hydra_compose("config", overrides=list(groups))
    finally:  # the sweeper composes inside a running Hydra application
        GlobalHydra.instance().hydra = application
    return OmegaConf.merge(OmegaConf.structured(Run), cfg)  # type: ignore[return-value]


def _set(cfg: DictConfig, override: Override) -> None:
    key = override.key_or_group
    if key not in known_keys():
        raise ConfigError(f"unknown setting {key!r}{_nearest(key)}")
    if override.is_sweep_override():
        raise ConfigError(f"{override.input_line!r} names several values: add -m to train one run for each")
    value = override.value()
    try:
        OmegaConf.update(cfg, key, value)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key} must be {known_keys()[key]}, got {value!r}") from error


@lru_cache(maxsize=1)
def known_fields() -> dict[str, Field]:
    """Every setting's dotted key and its field of config.py."""
    keys: dict[str, Field] = {}
    for part in fields(Run):
        default = part.default_factory() if callable(part.default_factory) else None
        inner = fields(default) if is_dataclass(default) else ()
        keys |= {f"{part.name}.{leaf.name}": leaf for leaf in inner} or {part.name: part}
    return keys


@lru_cache(maxsize=1)
def known_keys() -> dict[str, str]:
    """Every setting's dotted key and the type it takes, in words."""
    words = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "text"}
    words |= {"int | None": "an integer or null", "float | None": "a number or null"}
    return {key: words.get(_type_name(leaf), "a list of integers") for key, leaf in known_fields().items()}


def _type_name(leaf: Field) -> str:
    return leaf.type.__name__ if isinstance(leaf.type, type) else str(leaf.type)


def _nearest(key: str) -> str:
    known = [*known_keys(), *GROUPS]
    near = [k for k in known if k.split(".")[-1] == key] or difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{hint} `python -m resnet_repro.train --cfg job` shows all"


def resolve(cfg: DictConfig) -> Run:
    """The validated `Run` of a composed Hydra config. Raises ConfigError.

    The config is merged once more into the schema, as plain values, because Hydra itself lets `+foo=1` through.
    """
    plain: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
    plain.pop("hydra", None)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Run), plain)
    except OmegaConfBaseException as error:
        raise ConfigError(_in_short(error)) from error
    return _checked(merged)  # type: ignore[arg-type]


def _in_short(error: OmegaConfBaseException) -> str:
    """OmegaConf's message in one line; the key it names is in its second line."""
    return ", ".join(line.strip() for line in str(error).splitlines()[:2])


def _checked(cfg: DictConfig) -> Run:
    try:
        run: Run = OmegaConf.to_object(cfg)  # type: ignore[assignment]
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere, a value left at ???
        raise ConfigError(_in_short(error)) from error
    check(run)
    return run


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
        raise ConfigError(f"{override.input_line!r}: write out the values, as in seed=0,1,2") from error
    if not values:
        raise ConfigError(f"{override.input_line!r} names no value: write them out, as in seed=0,1,2")
    return values


def _check_range(sweep: Any) -> None:
    if isinstance(sweep, RangeSweep):
        assert sweep.start is not None
        assert sweep.stop is not None
        check_count(abs(sweep.stop - sweep.start) / abs(sweep.step))
