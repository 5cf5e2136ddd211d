"""How a table is written: Markdown for reading here, LaTeX for a paper, CSV for computing on."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Table:
    """The words shown, and the numbers behind them.

    head: for each column its head and subhead ("" where it has none). rows: words, one list per row.
    numbers: the rows of the CSV file. align: the columns of the LaTeX tabular.
    """

    name: str
    title: str
    caption: str
    head: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[dict[str, Any]]
    align: str


def write(table: Table, folder: Path) -> None:
    """Writes <name>.md, <name>.tex and <name>.csv."""
    text = f"{markdown(table.head, table.rows)}\n\n{table.caption}\n"
    (folder / f"{table.name}.md").write_text(text, encoding="utf-8")
    (folder / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")
    with open(folder / f"{table.name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, table.numbers[0] if table.numbers else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.numbers)


def markdown(head: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    """The table in Markdown; a vertical bar or line break in a cell is made harmless."""
    from tabulate import tabulate

    safe = [[" ".join(cell.replace("|", r"\|").split()) for cell in row] for row in rows]
    names = [" ".join(part for part in pair if part) for pair in head]
    return tabulate(safe, names, tablefmt="pipe", disable_numparse=True)


def latex(table: Table) -> str:
    r"""The table in LaTeX, two columns wide, for a document with \usepackage{booktabs}."""
    import pandas as pd

    frame = pd.DataFrame([[escape(cell) for cell in row] for row in table.rows], columns=range(len(table.head)))
    frame.columns = pd.MultiIndex.from_tuples([(escape(a), escape(b)) for a, b in table.head])
    if not any(b for _, b in table.head):
        frame.columns = frame.columns.droplevel(1)
    code = frame.style.hide(axis="index").to_latex(
        hrules=True,
        caption=escape(table.caption),
        label=f"tab:{table.name}",
        column_format=table.align,
        multicol_align="c",
        environment="table*",
    )
    # A table a little wider than the text stands out of it on both sides alike.
    begin = "\\scriptsize\n\\setlength{\\tabcolsep}{3pt}\n\\makebox[\\textwidth][c]{%\n\\begin{tabular}"
    return code.replace(r"\begin{tabular}", begin).replace(r"\end{tabular}", r"\end{tabular}}")


_LATEX: dict[str, str | int | None] = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"$\$$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", "±": r"$\pm$",
    "−": "$-$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "∞": r"$\infty$", "λ": r"$\lambda$", "→": r"$\to$",
    "–": "--", "—": "---", "“": "``", "”": "''", "‘": "`", "’": "'", "√": r"$\surd$", "\n": " ",
}  # fmt: skip


def escape(words: str) -> str:
    """The words for LaTeX: what has a meaning there or is not in its fonts is replaced."""
    return words.translate(str.maketrans(_LATEX))
