"""How a sweep is drawn: a screen of so many columns and rows, and one line in words."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from resnet_repro.costs import clock, duration, runs_in_words
from resnet_repro.progress import parts
from resnet_repro.progress.parts import View, bar, cut, short
from resnet_repro.progress.state import Snapshot

WIDE = 100
"""From so many columns on, the curve stands beside the table."""

NARROWEST, LOWEST = 34, 7
"""Columns and lines that a curve needs; without them each run has its curve in small."""


def line(snapshot: Snapshot) -> str:
    """One line: `12/40 runs done, 46 % of the work, 1 running (resnet110-s0 45 %), 3 min left, ends about 14:32`."""
    seen = snapshot.running
    named = [f"{short(one.plan.id)} {100 * one.fraction:.0f} %" for one in seen[:4]]
    said = [
        f"{snapshot.done}/{runs_in_words(len(snapshot.runs))} done",
        f"{100 * snapshot.work:.0f} % of the work",
        f"{len(seen)} running" + (f" ({', '.join(named)})" if named else ""),
        _end(snapshot),
    ]
    return ", ".join(part for part in said if part)


def _end(snapshot: Snapshot) -> str:
    if snapshot.left is None or snapshot.done == len(snapshot.runs):
        return ""
    return f"{duration(snapshot.left)} left, ends about {clock(snapshot.left)}"


class Screen:
    """Draws views; what has not changed since the last one is not made again."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.coloured = console.color_system is not None and not console.no_color
        self.kept: dict[str, tuple[Any, list[str], int]] = {}

    def lines(self, view: View, width: int, height: int) -> list[str]:
        """The screen as at most `height` lines of at most `width` characters, with the console's colours.

        Where not all has room, the curve is the first to go, then the blank lines, then the last claims.
        """
        marks = [(seen.mark, bool(seen.record)) for seen in view.snapshot.runs]
        alone = len(marks) == 1  # a table of one run says nothing
        table, wide = self._once("table", (marks, width), lambda: [] if alone else parts.table(view, width))
        claims, _ = self._once("claims", (list(view.leanings), width), lambda: parts.claims(view.leanings, width))
        foot = self._drawn(parts.foot(view, width))
        head = self.head(view, width)
        taken = sum(len(part) + 1 for part in (head, table, claims, foot) if part)
        room = height - taken - min(len(view.snapshot.running), parts.RUNS + 1)
        middle, below = table, []
        if view.curves and table and width >= WIDE and width - wide - 3 >= NARROWEST:
            tall = max(len(table), min(len(table) + room, 10))
            curve = self._drawn(parts.curve(view, width - wide - 3, tall, self.coloured))
            middle = _beside(table, wide + 3, curve)
        elif view.curves and room > LOWEST:
            below = self._drawn(parts.curve(view, width, min(room - 1, 12), self.coloured))
        small = middle is table and not below
        runs = self._drawn(parts.runs(view, width, sparks=small))
        return _stacked([head, runs, middle, below, claims, foot], height)

    def head(self, view: View, width: int) -> list[str]:
        """Two lines: what it is, how far, the clock; a bar, the time left."""
        seen = view.snapshot
        done, running = seen.done, len(seen.running)
        left = len(seen.runs) - done - running
        counts = f"{done} of {runs_in_words(len(seen.runs))} done, {running} running, {left} to go"
        now = time.strftime("%H:%M:%S")
        first = cut(Text(view.title, style="bold"), max(width - len(counts) - len(now) - 4, 8))
        first.append("  " + counts, style="not bold")
        first.append(now.rjust(max(width - len(first), len(now) + 1)), style="dim")
        after = f" {100 * seen.work:3.0f} %  {_end(seen)}"
        second = bar(seen.work, max(min(40, width - len(after)), 10), "green").append(after)
        return self._drawn([cut(first, width), cut(second, width)])

    def _once(self, part: str, key: Any, make: Callable[[], list[Text]]) -> tuple[list[str], int]:
        """The part's lines and how wide they are, made anew only where its key is another than last time."""
        if part not in self.kept or self.kept[part][0] != key:
            made = make()
            wide = max(map(len, made), default=0)
            for one in made:
                one.pad_right(wide - len(one))
            self.kept[part] = key, self._drawn(made), wide
        return self.kept[part][1:]

    def _drawn(self, texts: Sequence[Text]) -> list[str]:
        """The lines with the escape sequences of their colours; printed at once, which costs the least."""
        if not texts:
            return []
        with self.console.capture() as captured:
            self.console.print(Text("\n").join(texts), soft_wrap=True)
        return captured.get().split("\n")[:-1]


def _beside(left: Sequence[str], wide: int, right: Sequence[str]) -> list[str]:
    """Lines side by side; those on the left are all three columns less than `wide`."""
    count = max(len(left), len(right))
    padded = [*(one + "   " for one in left), *[" " * wide] * (count - len(left))]
    return [a + b for a, b in zip(padded, [*right, *[""] * (count - len(right))], strict=True)]


def _stacked(blocks: Sequence[list[str]], height: int) -> list[str]:
    """The blocks, with a blank line between them where there is room; the last line always stays."""
    there = [block for block in blocks if block]
    spaced = [one for block in there for one in ("", *block)][1:]
    lines = spaced if len(spaced) <= height else [one for block in there for one in block]
    return lines if len(lines) <= height else [*lines[: height - 1], lines[-1]]
