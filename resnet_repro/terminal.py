"""What a command says of results at its end: the verdicts, yours beside ours, and the files to open."""

import os
from collections.abc import Sequence
from pathlib import Path

from resnet_repro.analysis import tables
from resnet_repro.analysis.beside import Beside, compare
from resnet_repro.analysis.claims import Verdict, read_verdicts
from resnet_repro.experiment import Experiment, ids

COLOURS = {"supported": "green", "refuted": "red", "inconclusive": "yellow", "incomplete": "magenta"}


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
        print("\nEverything works: networks were trained, their measurements collected, figures and tables drawn.")
    new = [name for name in ids() if name.endswith("-digits") and not (results / name / "data").exists()]
    first = [name for name in new if name.startswith("degradation")] or new
    print(f"next    {again('sweep', first[0])}" if first else "next    ask your own question: docs/ask.md")


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
