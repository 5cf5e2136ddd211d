"""How the settings of a run are written: Hydra overrides, read into a `Run` or refused with what to write instead.

`compose(["model.depth=56", "seed=3"])` is the run that these describe. Nothing here imports torch, so planning a
sweep starts at once.
"""

import copy
import difflib
from collections.abc import Sequence
from dataclasses import Field, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_repro.config import ConfigError, Run
from resnet_repro.grammar import of_hydra, parse, parse_one
from resnet_repro.places import stop_the_clock
from resnet_repro.project import CONF, own_conf
from resnet_repro.rules import check, decided
from resnet_repro.typed import nearest, problem, shown, words

GROUPS = ("model", "task", "trainer")
HYDRA = ("hydra/launcher", "hydra.launcher.", "hydra.sweeper.experiment", "hydra.sweeper.results", "hydra.verbose",
         "hydra.job.", "hydra/job_logging", "hydra/hydra_logging")  # fmt: skip
"""How those of Hydra's keys begin that can be overridden; its mode and its sweeper make a sweep one of ours."""


def compose(overrides: Sequence[str]) -> Run:
    """The run that these Hydra overrides describe, as Hydra composes it.

    Raises ConfigError, before anything is computed, for an unknown key, an ill-typed or out-of-range value,
    and a combination that makes no sense.
    """
    parsed = parse(overrides)
    groups = tuple(o.input_line or "" for o in parsed if o.key_or_group in GROUPS)
    values = [o.input_line or "" for o in parsed if o.key_or_group not in GROUPS]
    base = _base(groups)
    if base is None or any(_refers(text) for text in values):
        cfg = copy.deepcopy(_composed(groups))
        for text in values:
            _set(cfg, parse_one(text))
        return _checked(cfg)
    run = _with(base, dict(_leaf(text) for text in values))
    check(run)
    return run


# A thousand runs of a sweep differ in a few values: what Hydra and OmegaConf make of a choice of groups, and of each
# value, is asked once.


@lru_cache(maxsize=64)
def _base(groups: tuple[str, ...]) -> Run | None:
    """The run of a choice of groups; None where a value refers to another one, which an override may change."""
    cfg = _composed(groups)
    return None if _refers(OmegaConf.to_yaml(cfg)) else _checked(cfg)


@lru_cache(maxsize=2**17)
def _leaf(text: str) -> tuple[str, Any]:
    """The key of an override that refers to nothing, and its value as the schema types it."""
    override = parse_one(text)
    cfg = _schema()
    _set(cfg, override)
    value = OmegaConf.select(cfg, override.key_or_group)
    value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    _check_type(override.key_or_group, value)
    return override.key_or_group, value


@lru_cache(maxsize=1)
def _schema() -> DictConfig:
    return OmegaConf.structured(Run)


def _refers(text: str) -> bool:
    """Whether it may hold an OmegaConf interpolation, a missing value (`???`), or a mapping, which Hydra merges."""
    return "{" in text or "???" in text


def _with(base: Run, values: dict[str, Any]) -> Run:
    """A copy of the run with these values, by dotted key."""
    parts = {name: _copy(part) for name, part in vars(base).items()}
    run = Run(**parts)
    for key, value in values.items():
        part, _, name = key.rpartition(".")
        setattr(parts[part] if part else run, name, _copy(value))
    return run


def _copy(value: Any) -> Any:
    if is_dataclass(value):
        return type(value)(**{name: _copy(inner) for name, inner in vars(value).items()})  # type: ignore[misc]
    return list(value) if isinstance(value, list) else value


def options(group: str) -> list[str]:
    """What a group of settings may be: the files of conf/<group>/, and of the user's own."""
    return sorted({*_options(CONF, group), *_options(own_conf(), group)})


def _options(conf: Path | None, group: str) -> list[str]:
    return [] if conf is None else [path.stem for path in (conf / group).glob("*.yaml")]


def _check_group(override: Override) -> None:
    group, value = override.key_or_group, override.value()
    if override.package is not None:
        raise ConfigError(f"{shown(override.input_line)}: a group's place is fixed; write {override.key_or_group}=...")
    if override.is_sweep_override():
        raise ConfigError(f"{shown(override.input_line)} names several values: add -m to train one run for each")
    if value not in options(group):
        raise ConfigError(f"{group} must be one of {', '.join(options(group))}, got {shown(value)}")
    if value in _options(CONF, group) and value in _options(own_conf(), group):
        raise ConfigError(
            f"{group}={value} is a file of {CONF} and another of {own_conf()}, which adds to the first and replaces "
            "nothing; give yours another name"
        )


@lru_cache(maxsize=64)
def _composed(groups: tuple[str, ...]) -> DictConfig:
    """Hydra's composition of a choice of groups: 50 ms each, hence once."""
    for text in groups:
        _check_group(parse_one(text))
    try:
        return OmegaConf.merge(OmegaConf.structured(Run), _by_hydra(groups))  # type: ignore[return-value]
    except HydraException as error:  # a key in a user's file of the group that is none
        words = " ".join(str(error).split())
        said = next((decided(word) for word in words.split() if decided(word)), f"Hydra says: {words}")
        raise ConfigError(f"{', '.join(groups)}: {said}") from error


def _by_hydra(overrides: Sequence[str]) -> DictConfig:
    application, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra_compose("config", overrides=list(overrides))
    finally:  # the sweeper composes inside a running Hydra application
        GlobalHydra.instance().hydra = application


def check_hydra(overrides: Sequence[str]) -> None:
    """Refuses, of Hydra's own settings, those that are unknown, and those that a sweep of ours does not survive."""
    own = [o for o in map(parse_one, overrides) if of_hydra(o)]
    for override in own:
        key = override.key_or_group
        if override.is_sweep_override() or not key.startswith(HYDRA) or key.endswith("_target_"):
            raise ConfigError(
                f"{shown(override.input_line)}: of Hydra's own settings, those that begin with {', '.join(HYDRA)} can "
                "be set, each to one value; leave this one out"
            )
    if own:
        _check_by_hydra(tuple(o.input_line or "" for o in own))


@lru_cache(maxsize=64)
def _check_by_hydra(overrides: tuple[str, ...]) -> None:
    try:
        _by_hydra(overrides)
    except MissingConfigException as error:
        name, options = (error.missing_cfg_file or "").rsplit("/")[-1], error.options or []
        raise ConfigError(
            f"{', '.join(overrides)}: there is no {name!r}{nearest(name, options)}; there are {', '.join(options)}"
        ) from error
    except (HydraException, ValueError) as error:
        raise ConfigError(f"{', '.join(overrides)}: Hydra says: {' '.join(str(error).split())}") from error


def _set(cfg: DictConfig, override: Override) -> None:
    key = override.key_or_group
    if key not in known_keys():
        raise ConfigError(decided(key) or f"unknown setting {shown(key)}{_nearest(key)}")
    if override.package is not None:
        raise ConfigError(f"{shown(override.input_line)}: a setting has no package; write {key}=...")
    if override.is_sweep_override():
        raise ConfigError(f"{shown(override.input_line)} names several values: add -m to train one run for each")
    value = override.value()
    try:
        OmegaConf.update(cfg, key, value)
    except (OmegaConfBaseException, ArithmeticError) as error:  # ArithmeticError: an integer beyond any float
        raise ConfigError(f"{key} must be {known_keys()[key]}, got {shown(value)}") from error


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
    return {key: words(leaf.type) for key, leaf in known_fields().items()}


def _check_type(key: str, value: Any) -> None:
    """What OmegaConf lets pass: a list within a list of integers."""
    if said := problem(value, known_fields()[key].type, key):
        raise ConfigError(said)


def _nearest(key: str) -> str:
    known, key = [*known_keys(), *GROUPS], key[:100]
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
    stop_the_clock()
    try:
        run: Run = OmegaConf.to_object(cfg)  # type: ignore[assignment]
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere, a value left at ???
        raise ConfigError(_in_short(error)) from error
    except (TypeError, ValueError) as error:  # an interpolation that leads to a value of another type
        raise ConfigError(f"a setting refers to another one of another type: {error}") from error
    for key in known_fields():
        part, _, name = key.rpartition(".")
        _check_type(key, getattr(getattr(run, part) if part else run, name))
    check(run)
    return run
