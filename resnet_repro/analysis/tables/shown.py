"""How numbers and words stand in a cell, alike in every table."""

import math
from collections.abc import Iterable, Sequence

from resnet_repro.analysis import words
from resnet_repro.analysis.typeset import Layout


def two(value: float, sign: str = "") -> str:
    """Two decimals, a real minus sign, and a plus sign if asked for; from 100,000 as `1.23e5`, which fits a column."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 1e5:
        digits, exponent = f"{value:{sign}.2e}".replace("-", "−").split("e")
        return f"{digits}e{int(exponent)}"
    # Adding 0.0 turns the -0.0 of a rounded -0.001 into 0.0.
    return f"{round(value, 2) + 0.0:{sign}.2f}".replace("-", "−")


def interval(mean: float, low: float, high: float, sign: str = "") -> str:
    """`mean [low, high]` with two decimals; a dash where nothing was measured."""
    return "–" if math.isnan(mean) else f"{two(mean, sign)} [{two(low, sign)}, {two(high, sign)}]"


def stacked(estimate: str) -> str:
    """An interval below its mean, for a narrow column."""
    return estimate.replace(" [", "\n[", 1)


def lines(*parts: str) -> str:
    """The parts, each in a line of its own; empty ones are left out."""
    return "\n".join(filter(None, parts))


def single(names: Sequence[str]) -> list[tuple[str, str]]:
    """Heads without subheads."""
    return [(name, "") for name in names]


def outcomes(shares: Iterable[str]) -> str:
    """A sentence that says what failed, stuck and diverged mean, of those given."""
    meanings = "; ".join(f"{share}: {words.OUTCOMES[share]}" for share in shares)
    return f"{meanings[:1].upper()}{meanings[1:]}." if meanings else ""


def without(layout: Layout, head: str) -> Layout:
    """The layout without the column of that head."""
    keep = [i for i, (name, _) in enumerate(layout.head) if name != head]
    return Layout(
        [layout.head[i] for i in keep],
        [[row[i] for i in keep] for row in layout.rows],
        [layout.align[i] for i in keep],
    )
