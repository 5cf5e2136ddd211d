"""Every setting with its meaning and what it may be, from config.py: `train --help`, `train --cfg job`."""

import math
from collections.abc import Sequence
from typing import Any

import yaml

from resnet_repro.config import Run
from resnet_repro.settings import GROUPS, compose, known_fields, known_keys, options

HEAD = """\
One run:  python -m resnet_repro.train model=resnet model.depth=56 seed=3
Several:  python -m resnet_repro.train -m model=plain,resnet seed=0,1,2

A finished run is not trained again; an interrupted one goes on where it was.
--cfg job prints the settings as YAML, --hydra-help what Hydra itself can do.
What the words mean: docs/glossary.md

Groups of settings, chosen first:
"""
ASKED = (["--help"], ["-h"], ["--cfg", "job"], ["-c", "job"], ["--cfg=job"])


def asked_for(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for the settings, and for nothing else."""
    return [a for a in arguments if a.startswith("-") or a == "job"] in ASKED


def show(arguments: Sequence[str]) -> None:
    """Prints the settings that the overrides among the arguments make. Raises ConfigError."""
    run = compose([a for a in arguments if not a.startswith("-") and a != "job"])
    if {"--help", "-h"} & set(arguments):
        _show_table(run)
    else:
        print(commented(run))


def allowed(key: str) -> str:
    """What a setting may be, in words: `A, B, C`, `at least 8`, `0 to 1`, `true or false`."""
    rule = known_fields()[key].metadata
    if "choices" in rule:
        return ("any of " if known_keys()[key].startswith("a list") else "") + ", ".join(rule["choices"])
    low, high = rule.get("low", -math.inf), rule.get("high", math.inf)
    limits = "" if math.isinf(low) else f"at least {low}" if math.isinf(high) else f"{low} to {high}"
    if not limits:
        return known_keys()[key]
    return limits + (" or null" if known_keys()[key].endswith(" or null") else "")


def meaning(key: str) -> str:
    """What a setting means."""
    return known_fields()[key].metadata["help"]


def commented(run: Run) -> str:
    """The settings of a run as YAML, each line with its meaning and what it may be."""
    lines: list[tuple[str, str]] = []
    for part in _parts():
        inner = [key for key in known_fields() if key.startswith(f"{part}.")]
        if inner:
            lines.append((f"{part}:", ""))
        for key in inner or [part]:
            setting = f"{'  ' if inner else ''}{key.split('.')[-1]}: {_text(_value(run, key))}"
            lines.append((setting, f"{meaning(key)} ({allowed(key)})"))
    return "\n".join(f"{setting:<32}# {words}" if words else setting for setting, words in lines)


def _parts() -> list[str]:
    return list(dict.fromkeys(key.split(".")[0] for key in known_fields()))


def _value(run: Run, key: str) -> Any:
    value: Any = run
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _text(value: Any) -> str:
    """A value in one line of YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("\n...\n").strip()


def _show_table(run: Run) -> None:
    from rich.console import Console
    from rich.table import Table

    print(HEAD, end="")
    for group in GROUPS:
        print(f"  {group:<7} {', '.join(options(group))}")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("setting", "value", "meaning (what it may be)"):
        table.add_column(name, no_wrap=name != "meaning (what it may be)")
    for key in known_fields():
        table.add_row(key, _text(_value(run, key)), f"{meaning(key)} ({allowed(key)})")
    print()
    Console(highlight=False, markup=False).print(table)
