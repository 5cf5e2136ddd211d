"""The page of one experiment: results/<id>/README.md."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis.beside import Beside
from resnet_repro.analysis.figures import title as figure_title
from resnet_repro.analysis.frames import Measured
from resnet_repro.analysis.reasons import reason
from resnet_repro.analysis.tables import estimate
from resnet_repro.analysis.typeset import Head, Table, markdown
from resnet_repro.analysis.verdicts import Verdict
from resnet_repro.analysis.words import quantity as quantity_in_words
from resnet_repro.collect import PROVENANCE, SAME_BITS, mixture
from resnet_repro.experiment import Experiment
from resnet_repro.metrics import QUANTITIES, SHARES

if TYPE_CHECKING:
    import pandas as pd

FIGURE_FILES = {
    "PDF (5.5 in)": ".pdf",
    "PDF (3.3 in)": "-column.pdf",
    "slide (PNG)": "-slide.png",
    "slide (PDF)": "-slide.pdf",
    "SVG": ".svg",
    "CSV": ".csv",
    "caption (LaTeX)": ".caption.tex",
}
"""The files of a figure, after its name, as its page links them."""


def experiment_page(
    measured: Measured,
    verdicts: Sequence[Verdict],
    shown: Sequence[Table],
    captions: Mapping[str, str],
    *,
    earlier: Sequence[str] = (),
    beside: Beside | None = None,
) -> str:
    """The page of one experiment: question, verdicts, figures, further tables, provenance.

    shown: the tables, that of the verdicts first. captions: of each figure by its name. earlier: the parts on earlier
    measurements. beside: what is committed, on the page of what was measured elsewhere.
    """
    e = measured.experiment
    first, *others = shown
    return "\n\n".join(
        [
            f"# {e.id}",
            f"**{e.question}**",
            f"Data set: {measured.data}. Source: {e.source}.",
            count(measured),
            f"Measured by `make sweep EXP={e.id}`, made from `data/` by `python -m resnet_repro.report {e.id}`. "
            "To explore in a browser: [report.html](report.html).",
            *_section(first),
            *(f"Claim {i} is {v.verdict}: {why}" for i, v in enumerate(verdicts, 1) if (why := reason(e.id, v))),
            _glossary(e),
            *([_beside(beside)] if beside else []),
            *(_figure(measured, name, caption) for name, caption in captions.items()),
            *(part for table in others for part in _section(table)),
            *earlier,
            "## Provenance",
            *_provenance(measured.runs[measured.runs["measured"]]),
        ]
    ) + "\n"  # fmt: skip


def _section(table: Table) -> list[str]:
    files = ", ".join(f"[{kind}]({table.name}.{suffix})" for kind, suffix in (("CSV", "csv"), ("LaTeX", "tex")))
    return [
        f"## {table.title}",
        markdown(table.head, table.rows),
        f"{' '.join(filter(None, (table.caption, table.note)))} {files}",
    ]


def count(measured: Measured) -> str:
    """How many of the planned runs are measured, how they ended, and which are missing."""
    done = measured.runs[measured.runs["measured"]]
    counts = ", ".join(f"{int((done[share] == 1).sum())} {share}" for share in SHARES)
    missing = measured.runs.index[~measured.runs["measured"]]
    lines = [
        f"{len(done)} of {len(measured.runs)} planned runs are measured: {counts} (the failed include the others)."
    ]
    if len(missing):
        named, rest = ", ".join(f"`{run_id}`" for run_id in missing[:10]), len(missing) - 10
        lines.append(f"Missing: {named}" + (f" and {rest} more." if rest > 0 else "."))
    if measured.unplanned:
        lines.append(f"{measured.unplanned} collected runs belong to no run of the plan and are left out.")
    return " ".join(lines)


def _glossary(e: Experiment) -> str:
    used = {claim.metric for claim in e.claims}
    return "\n".join(
        f"- {quantity_in_words(name)}: {quantity.label}" for name, quantity in QUANTITIES.items() if name in used
    )


def _beside(beside: Beside) -> str:
    remarks = "\n".join(f"- {remark}" for remark in beside.remarks)
    head, rows = beside_table(beside)
    parts = ["## Yours beside ours", beside.summary(), markdown(head, rows), remarks]
    return "\n\n".join(part for part in parts if part)


def beside_table(beside: Beside) -> tuple[Head, list[list[str]]]:
    """What was measured here beside what is committed, a row per claim."""
    rows = []
    for pair in beside.pairs:
        v, ours = pair.yours, pair.ours
        there = [estimate(ours), str(ours.n), ours.verdict] if ours else ["–", "–", "–"]
        rows.append([v.says, estimate(v), str(v.n), v.verdict, *there, pair.answer])
    head = ("claim", "yours [95 % interval]", "n", "verdict", "ours (committed)", "n", "verdict", "do they agree?")
    return [(name, "") for name in head], rows


def _figure(measured: Measured, name: str, caption: str) -> str:
    title = figure_title(next(figure for figure in measured.experiment.figures if figure.name == name), measured)
    if caption.startswith("Not drawn"):
        return f"## Figure: {title}\n\n{caption}"
    files = ", ".join(f"[{words}]({name}{rest})" for words, rest in FIGURE_FILES.items())
    return f"## Figure: {title}\n\n![{title}]({name}.png)\n\n{caption} {files}"


def _provenance(runs: "pd.DataFrame") -> tuple[str, str]:
    head, rows, said = provenance(runs)
    return markdown(head, rows), said


def provenance(runs: "pd.DataFrame") -> tuple[Head, list[list[str]], str]:
    """Where the runs come from: a row per value with how many runs have it; and how long they took, in words."""
    rows = [
        [column, str(value), str(count)]
        for column in PROVENANCE[1:]
        if runs[column].notna().any()
        for value, count in runs[column].fillna("not recorded").value_counts(sort=False).sort_index().items()
    ]
    said = [f"The runs took {runs['seconds'].sum() / 3600:.2f} hours together.", mixture(_recorded(runs))]
    return [("", ""), ("value", ""), ("runs", "")], rows, " ".join(filter(None, said))


def _recorded(runs: "pd.DataFrame") -> list[dict[Any, Any]]:
    return runs[list(SAME_BITS)].fillna("").to_dict("records")
