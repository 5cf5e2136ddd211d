"""What a command says of results at its end: the verdicts, yours beside ours, and the files to open."""

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_repro.analysis import tables
from resnet_repro.analysis.beside import Beside, compare
from resnet_repro.analysis.verdicts import Verdict, read_verdicts
from resnet_repro.experiment import Experiment, ids, load
from resnet_repro.metrics import QUANTITIES
from resnet_repro.planning import plan

LONGEST_LIST = 40
"""Runs that are listed at the end of a sweep from the command line."""
COLOURS = {
    "supported": "green",
    "refuted": "red",
    "inconclusive": "yellow",
    "incomplete": "magenta",
    "not answerable": "magenta",
}


def show(e: Experiment, folder: Path, committed: Path | None) -> None:
    """Prints the rendered verdicts of an experiment, beside the committed ones where given, and the files to open."""
    verdicts = read_verdicts(folder / "verdicts.csv")
    if e.smoke:
        print("\nThis experiment only tries everything out; its claims are no findings.")
    elif committed is None:
        _table(e, [[verdict] for verdict in verdicts])
    else:
        _beside(e, compare(verdicts, folder, committed))
    for what, path in files(e, folder).items():
        print(f"{what:<8}{relative(path)}")


def files(e: Experiment, folder: Path) -> dict[str, Path]:
    """The files to open first, of those that are there: the figure, the table, the page."""
    figures = [folder / f"{figure.name}.png" for figure in e.figures]
    first = {
        "figure": [p for p in figures if p.exists()],
        "table": [folder / "errors.md"],
        "page": [folder / "README.md"],
    }
    return {what: paths[0] for what, paths in first.items() if paths and paths[0].exists()}


def say_what_next(e: Experiment, missing: int, results: Path) -> None:
    """The command to try next; of a smoke test also what it has shown. missing: runs of the experiment."""
    if missing:
        print(f"next    {again('sweep', e.id)}    {missing} of its runs are missing")
        return
    if e.smoke:
        say("Everything works: networks were trained, their measurements collected, figures and tables drawn.")
    new = [name for name in ids() if name.endswith("-digits") and _unfinished(name, results)]
    first = [name for name in new if name.startswith("degradation")] or new
    print(f"next    {again('sweep', first[0])}" if first else "next    ask your own question: docs/ask.md")


def _unfinished(name: str, results: Path) -> bool:
    """Whether runs of the experiment are not in results yet."""
    runs = results / name / "data" / "runs.csv"
    collected = runs.read_text(encoding="utf-8", errors="replace") if runs.is_file() else ""
    return not {p.id for p in plan(load(name))} <= {line.split(",")[0] for line in collected.splitlines()}


def say(text: str) -> None:
    """Prints a paragraph at once; a terminal's lines break between words, a log's do not."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    print(textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False), flush=True)


def relative(path: Path) -> str:
    """The path as it is written in a shell here: relative where it lies below the working directory."""
    path = path.resolve()
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def again(command: str, name: str, *words: str) -> str:
    """How to run a command (`sweep`, `status`, ...) on an experiment: through make if this one was."""
    if "MAKELEVEL" in os.environ:
        return f"make {command} EXP={name}" + (f' OVERRIDES="{" ".join(words)}"' if words else "")
    return " ".join(["python -m", f"resnet_repro.{command}", name, *words])


def _beside(e: Experiment, beside: Beside) -> None:
    _table(e, [[pair.yours, pair.ours] if pair.ours else [pair.yours] for pair in beside.pairs])
    print(beside.summary())
    for remark in beside.remarks:
        print(f"  {remark}")
    print()


def _table(e: Experiment, rows: Sequence[Sequence[Verdict]]) -> None:
    """A row per claim, with a line for each of its verdicts; the claim's words wrap, numbers never do."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    pairs = any(len(row) > 1 for row in rows)
    table = Table(title=f"\n{e.id}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, leading=1)
    table.add_column("claim and its region", ratio=1)
    for head in [*([""] if pairs else []), "estimate [95 %]", "n", "verdict"]:
        table.add_column(Text(head), no_wrap=True, justify="right" if head == "n" else "left")
    for row in rows:
        claim = f"{row[0].says} {tables.region(row[0]).replace(' ', chr(0xA0))}"
        who = [Text("\n".join(["yours", "ours"][: len(row)]))] if pairs else []
        numbers = [Text("\n".join(words)) for words in (map(tables.estimate, row), (str(v.n) for v in row))]
        verdicts = Text("\n").join(Text(v.verdict, style=COLOURS[v.verdict]) for v in row)
        table.add_row(Text(claim), *who, *numbers, verdicts)
    Console(highlight=False).print(table)


# Single runs ---------------------------------------------------------------------------------------------------

ENDS = {
    "finished": "finished",
    "diverged": "diverged (counts as 100 %)",
    "stuck": "stuck at chance",
    "failed": "test error above 20 %",
}
"""How a run ended, in words, by its status (docs/glossary.md)."""


def show_run(place: Path, record: Mapping[str, Any], since: float) -> None:
    """Prints how a run ended, its metrics, and how to look at it. since: when the command began, in epoch seconds."""
    written = (place / "record.json").stat().st_mtime
    words = "" if record["status"] == "finished" else f", {ENDS[record['status']]}"
    print(f"{place.name}: finished{words}")
    if written < since:
        print(f"  it was before, on {time.strftime('%Y-%m-%d at %H:%M', time.localtime(written))}")
    for name, value in record["metrics"].items():
        if value is not None:
            print(f"  {QUANTITIES[name].label:<66} {value:8.3f}")
    folder = relative(place)
    print(f"look at  {folder}/: record.json, points.csv")
    print(f'load     pandas.read_csv("{folder}/points.csv")')


def show_runs(found: Mapping[Path, Mapping[str, Any]]) -> None:
    """Prints a line for each finished run: its errors, and how it ended; then where they lie."""
    if not found:
        return
    width = max(len(place.name) for place in found)
    print(f"\n{'run':<{width}} {'training error, %':>18} {'test error, %':>14}  ended")
    for place, record in list(found.items())[:LONGEST_LIST]:
        train, test = (record["metrics"][name] for name in ("train_error_clean", "test_error"))
        print(f"{place.name:<{width}} {train:>18.2f} {test:>14.2f}  {ENDS[record['status']]}")
    if len(found) > LONGEST_LIST:
        print(f"and {len(found) - LONGEST_LIST} more")
    print(f"look at  {relative(next(iter(found)).parent)}/<run>/record.json and points.csv")
