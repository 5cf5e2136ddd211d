"""The papers' numbers, curves and protocols (resnet_repro/analysis/paper/), to stand beside ours."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import pandas as pd

PAPER = Path(__file__).resolve().parent / "paper"
TITLES = {"he2015-fig6": "He et al. 2015, fig. 6"}
"""The digitised figures, paper/<name>.csv, as a legend names them."""


def numbers() -> list[dict[str, Any]]:
    """Final numbers on CIFAR-10: `model, depth, shortcut_scale, norm, metric, value, sd, n, source, note`.

    shortcut_scale is None where it does not apply, sd where the paper gives none.
    """
    with open(PAPER / "numbers.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kinds: dict[str, Callable[[str], Any]] = {
        "depth": int,
        "n": int,
        "value": float,
        "shortcut_scale": _maybe,
        "sd": _maybe,
    }
    return [{k: kinds[k](v) if k in kinds else v for k, v in row.items()} for row in rows]


def _maybe(field: str) -> float | None:
    return float(field) if field else None


def curve(name: str) -> "pd.DataFrame":
    """The digitised figure paper/<name>.csv, tidy: `model, depth, step, metric, value`. Raises ValueError."""
    import pandas as pd

    if name not in TITLES:
        raise ValueError(f"no published curve {name!r}; there are {', '.join(TITLES)}")
    wide = pd.read_csv(PAPER / f"{name}.csv")
    return wide.melt(["model", "depth", "step"], var_name="metric", value_name="value").dropna()


def differences(settings: dict[str, Any], source: str) -> dict[str, tuple[Any, Any]]:
    """The settings in which a run of ours differs from the paper that `source` begins with: our value and theirs."""
    protocols = yaml.safe_load((PAPER / "protocol.yaml").read_text(encoding="utf-8"))
    paper = next(rules for name, rules in protocols.items() if source.startswith(name))
    rules = {k: v.get(settings["depth"], settings[k]) if isinstance(v, dict) else v for k, v in paper.items()}
    return {key: (settings[key], rule) for key, rule in rules.items() if rule != settings[key]}
