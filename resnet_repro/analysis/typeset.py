"""How a table is written: Markdown for reading here, LaTeX for a paper, CSV for computing on."""

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Head = Sequence[tuple[str, str]]
"""For each column its head and subhead ("" where it has none); neighbours with one head share it."""

WIDE, COLUMN = 5.5, 3.3
"""Inches: a page of one column, and a column of a page of two."""


@dataclass(frozen=True)
class Layout:
    r"""A version of a table for LaTeX: what it shows, and how wide.

    align: for each column `l` or `r`; `X` for words that are broken into lines, with its share of the width (`X1.2`)
        where several differ; `±` for numbers as `1.20 ± 0.10`, which is two columns of the tabular.
    """

    head: Head
    rows: Sequence[Sequence[str]]
    align: Sequence[str]


@dataclass(frozen=True)
class Table:
    """The words shown, and the numbers behind them.

    experiment: whose results they are, for the label; "" for none. rows: words, one list per row; a line break in one
    is one where lines are broken. numbers: the rows of the CSV file.
    wide, column: what LaTeX shows on 5.5 and on 3.3 inches. note: what Markdown says besides the caption.
    """

    experiment: str
    name: str
    title: str
    caption: str
    head: Head
    rows: Sequence[Sequence[str]]
    numbers: Sequence[dict[str, Any]]
    wide: Layout
    column: Layout
    note: str = ""


def write(table: Table, folder: Path) -> None:
    """Writes <name>.md, <name>.csv, and for LaTeX <name>.tex (5.5 in wide) and <name>-column.tex (3.3 in)."""
    text = f"{markdown(table.head, table.rows)}\n\n{' '.join(filter(None, (table.caption, table.note)))}\n"
    (folder / f"{table.name}.md").write_text(text, encoding="utf-8")
    (folder / f"{table.name}.tex").write_text(latex(table, table.wide), encoding="utf-8")
    (folder / f"{table.name}-column.tex").write_text(latex(table, table.column), encoding="utf-8")
    with open(folder / f"{table.name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, table.numbers[0] if table.numbers else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.numbers)


def markdown(head: Head, rows: Sequence[Sequence[str]]) -> str:
    """The table in Markdown; a vertical bar or line break in a cell is made harmless."""
    from tabulate import tabulate

    safe = [[" ".join(cell.replace("|", r"\|").split()) for cell in row] for row in rows]
    names = [" ".join(" ".join(part.split()) for part in pair if part) for pair in head]
    return tabulate(safe, names, tablefmt="pipe", disable_numparse=True)


# LaTeX ---------------------------------------------------------------------------------------------------------


def latex(table: Table, layout: Layout) -> str:
    r"""The table in LaTeX, for a document with \usepackage{booktabs,tabularx}.

    The wide version is a `table*`, over both columns where there are two. Its label is `tab:<experiment>-<name>`, and
    that of the other ends in `-column`.
    """
    wide = layout is table.wide
    environment, suffix = ("table*", "") if wide else ("table", "-column")
    stretches = any(kind[0] == "X" for kind in layout.align)
    tabular, width = ("tabularx", r"{\linewidth}") if stretches else ("tabular", "")
    lines = [
        rf"\begin{{{environment}}}",
        r"\centering",
        rf"\caption{{{escape(table.caption)}}}",
        rf"\label{{tab:{'-'.join(filter(None, (table.experiment, table.name)))}{suffix}}}",
        r"\smallskip",
        r"\footnotesize",
        rf"\setlength{{\tabcolsep}}{{{SEPARATION}pt}}",
        rf"\begin{{{tabular}}}{width}{{@{{}}{''.join(map(_column, layout.align))}@{{}}}}",
        r"\toprule",
        *_head(layout),
        r"\midrule",
        *_body(layout),
        r"\bottomrule",
        rf"\end{{{tabular}}}",
        rf"\end{{{environment}}}",
    ]
    return "\n".join(lines) + "\n"


def _column(kind: str) -> str:
    if kind[0] != "X":
        return "r@{}l" if kind == "±" else kind
    share = rf"\hsize={kind[1:]}\hsize" if kind[1:] else ""
    return rf">{{{share}\raggedright\arraybackslash}}X"


def _head(layout: Layout) -> list[str]:
    """The heads; what has no subhead stands in the lower of the two rows."""
    upper, rules, place = [], [], 1
    columns = list(zip(layout.head, layout.align, strict=True))
    for head, group in itertools.groupby(columns, key=lambda column: column[0][0]):
        kinds = [(subhead, kind) for (_, subhead), kind in group]
        width = sum(_width(kind) for _, kind in kinds)
        if any(subhead for subhead, _ in kinds):
            upper.append(rf"\multicolumn{{{width}}}{{c}}{{{_cell(head, 'c', head=True)}}}")
            rules += [rf"\cmidrule(lr){{{place}-{place + width - 1}}}"] if len(kinds) > 1 else []
        else:
            upper.append(" & " * (width - 1))
        place += width
    lower = [_over(subhead or head, kind) for (head, subhead), kind in columns]
    two_rows = any(subhead for _, subhead in layout.head)
    return [*([" & ".join(upper) + r" \\", *rules] if two_rows else []), " & ".join(lower) + r" \\"]


def _over(head: str, kind: str) -> str:
    return rf"\multicolumn{{2}}{{c}}{{{_cell(head, 'c', head=True)}}}" if kind == "±" else _cell(head, kind, head=True)


def _width(kind: str) -> int:
    return 2 if kind == "±" else 1


def _body(layout: Layout) -> list[str]:
    """The rows, with some space between rows of broken lines, or between groups: rows that begin with the same word.

    A group says that word once.
    """
    lines: list[str] = []
    several = any("\n" in cell for row in layout.rows for cell in row)
    broken = several or sum(kind[0] == "X" for kind in layout.align) > 1
    grouped = len({row[0] for row in layout.rows}) < len(layout.rows)
    for above, row in zip([None, *layout.rows], layout.rows, strict=False):
        again = above is not None and above[0] == row[0]
        if above is not None and (broken or (grouped and not again)):
            lines.append(r"\addlinespace")
        lines.append(" & ".join(map(_cell, ["" if again else row[0], *row[1:]], layout.align)) + r" \\")
    return lines


def _cell(words: str, kind: str, head: bool = False) -> str:
    lines = [escape(line) for line in words.split("\n")]
    if kind == "±":
        mean, _, half = lines[0].partition(r" $\pm$ ")
        return mean + (rf" & \,$\pm$\,{half}" if half else " & ")
    if kind[0] == "X":
        return r" \newline ".join(lines)
    if len(lines) == 1:
        return lines[0]
    return rf"\begin{{tabular}}[{'b' if head else 't'}]{{@{{}}{kind}@{{}}}}" + r" \\{}".join(lines) + r"\end{tabular}"


_LATEX: dict[str, str | int | None] = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"$\$$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", "±": r"$\pm$",
    "−": "$-$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "∞": r"$\infty$", "λ": r"$\lambda$", "β": r"$\beta$",
    "→": r"$\to$", "–": "--", "—": "---", "“": "``", "”": "''", "‘": "`", "’": "'", "√": r"$\surd$", "\n": " ",
    "á": r"\'a",
}  # fmt: skip


def escape(words: str) -> str:
    """The words for LaTeX: what has a meaning there or is not in its fonts is replaced."""
    plain = words.translate(str.maketrans(_LATEX))
    return plain.replace(r" \%", r"~\%").replace(r"$\lambda$ = ", r"$\lambda$~=~")  # no line break there


# Widths --------------------------------------------------------------------------------------------------------

POINTS, SEPARATION, LEAST = 8, 3, 80
"""Of the font, on each side of a column, and the least for a column of broken lines, in points."""


def inches(layout: Layout) -> float:
    """About how wide a layout is, in Computer Modern; where words are broken into lines, as narrow as it can be."""
    total = 2.0 * SEPARATION * (len(layout.align) - 1)
    heads = [head for head, _ in layout.head]
    for i, ((head, subhead), kind) in enumerate(zip(layout.head, layout.align, strict=True)):
        if kind[0] == "X":
            total += LEAST
        else:
            alone = subhead and heads.count(head) == 1
            words = [subhead or head, head if alone else "", *(row[i] for row in layout.rows)]
            total += max(_points(line) for cell in words for line in cell.split("\n"))
    return total / 72.27


def _points(words: str) -> float:
    return POINTS * sum(_em(character) for character in words)


def _em(character: str) -> float:
    if character in "+−±=<>×∞MWmw%":
        return 0.83
    if character in " .,;:[]()|'iljtf":
        return 0.33
    return 0.77 if character.isupper() else 0.53
