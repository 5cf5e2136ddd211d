"""A short article on the committed results, in LaTeX: every word and number follows from the verdicts and the data.

    results/paper/article.tex       on all experiments that have data; <id>.tex: on one of them
    results/paper/references.bib    how the project and its sources are cited

The tables and figures are those of results/<id>/. No TeX is needed here; resnet_repro/article.py makes the PDF files.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_repro import experiment
from resnet_repro.analysis import citations, frames, words
from resnet_repro.analysis.article_tables import differences_table, provenance_table, settings_table
from resnet_repro.analysis.frames import Measured
from resnet_repro.analysis.reasons import remark
from resnet_repro.analysis.typeset import escape
from resnet_repro.analysis.verdicts import UNTESTED, VERDICTS, Verdict, read_verdicts
from resnet_repro.errors import UserError
from resnet_repro.metrics import ERRORS, QUANTITIES, SHARES
from resnet_repro.stats import exact_interval

if TYPE_CHECKING:
    import pandas as pd

ALL = "article"
"""The name of the article on every experiment."""


class Tex(str):
    """Words that are LaTeX already; all others are escaped."""


def render(names: Sequence[str], results: Path) -> str:
    """The article on these experiments of a results folder, in LaTeX. Raises UserError where nothing is measured."""
    import jinja2

    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Tex) else escape(str(value)),
    ).get_template("article.tex.jinja")
    found = [(frames.load(experiment.load(n), results / n), read_verdicts(results / n / "verdicts.csv")) for n in names]
    found = [(m, v) for m, v in found if len(v) and m.runs["measured"].any()]
    if not found:
        raise UserError(f"{', '.join(names)}: no claims with measured runs, so there is nothing to write about")
    found.sort(key=lambda pair: (-len(pair[1]), pair[0].experiment.id))  # the one with most claims first
    return template.render(_content([m for m, _ in found], [v for _, v in found], results))


def verify(every: Sequence[str], results: Path) -> list[str]:
    """One line for each file of results/paper that does not follow from the data; `every`: what has data."""
    folder = results / "paper"
    if not folder.is_dir():
        return []
    expected = {"references.bib": citations.bibliography()}
    for path in sorted(folder.glob("*.tex")):
        names = every if path.stem == ALL else [path.stem]
        if set(names) <= set(every):
            expected[path.name] = render(names, results)
    problems = []
    for path in sorted(folder.iterdir()):
        made = expected.get(path.name, "")
        if path.suffix == ".pdf" and f"{path.stem}.tex" in expected:
            current = digest(folder / f"{path.stem}.tex").encode() in path.read_bytes()
            problems += [] if current else [f"{path} is older than what it shows; make paper makes it anew"]
        elif not made:
            problems.append(f"{path} is extra: nothing makes it")
        elif path.read_text(encoding="utf-8") != made:
            problems.append(f"{path} differs from what the data give; make paper makes it anew")
    return problems


def digest(article: Path) -> str:
    """The SHA-256 of an article and of all that it includes; its PDF file carries it."""
    import hashlib

    text = article.read_text(encoding="utf-8")
    included = re.findall(r"\\input\{\.\./(.*?)\}|\\includegraphics\[.*?\]\{(.*?)\}", text)
    files = [article, article.parent / "references.bib", *(article.parents[1] / (a or b) for a, b in included)]
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()


# Content -------------------------------------------------------------------------------------------------------


def _content(found: Sequence[Measured], verdicts: Sequence[Sequence[Verdict]], results: Path) -> dict[str, Any]:
    import pandas as pd

    runs = pd.concat([measured.runs[measured.runs["measured"]] for measured in found])
    every = [v for decided in verdicts for v in decided]
    data = list(dict.fromkeys(runs["data"]))
    return {
        "project": citations.project(),
        "claims": len(every),
        "counts": _counts(every),
        "runs": len(runs),
        "hours": f"{runs['seconds'].sum() / 3600:.1f}",
        "data": words.enumerated(data),
        "small": data == ["digits"],
        "parts": [_part(m, v, results / m.experiment.id) for m, v in zip(found, verdicts, strict=True)],
        "parameters": _parameters(runs),
        "quantities": [QUANTITIES[name].words for name in _errors(found)],
        "original": "CIFAR-10" in data,
        "differences": Tex(differences_table(found)),
        "provenance": Tex(provenance_table(found)),
        "settings": Tex(settings_table(found)),
        "limits": _limits(found, every, runs),
    }


def _counts(verdicts: Sequence[Verdict]) -> str:
    """`6 supported and 2 inconclusive`."""
    counts = Counter(v.verdict for v in verdicts)
    return words.enumerated(f"{counts[kind]} {kind}" for kind in VERDICTS if counts[kind])


def _part(measured: Measured, verdicts: Sequence[Verdict], folder: Path) -> dict[str, Any]:
    e, done = measured.experiment, measured.runs[measured.runs["measured"]]
    outcomes = words.enumerated(f"{int((done[share] == 1).sum())} {share}" for share in SHARES)
    return {
        "id": e.id,
        "question": e.question,
        "source": Tex(citations.cited(e.source)),
        "count": f"{len(done)} of {len(measured.runs)} runs are measured; {outcomes} (a run can be several of these).",
        "claims": len(verdicts),
        "counts": _counts(verdicts),
        "remarks": [_unbroken(text) for i, v in enumerate(verdicts, 1) if (text := remark(e.id, i, v))],
        "figures": [f for figure in e.figures if (f := _figure(figure.name, folder))],
        "beside": (folder / "paper.tex").exists(),
    }


def _unbroken(text: str) -> Tex:
    """No line ends within an interval."""
    return Tex(re.sub(r"([\[(]\S+), (\S+[\])])", r"\1,~\2", escape(text)))


def _figure(name: str, folder: Path) -> dict[str, str] | None:
    """A figure that was drawn, with its caption in LaTeX."""
    caption = folder / f"{name}.caption.tex"
    if not caption.exists() or not (folder / f"{name}.pdf").exists():
        return None
    return {"name": Tex(name), "caption": Tex(caption.read_text(encoding="utf-8").removesuffix("%\n"))}


def _parameters(runs: "pd.DataFrame") -> str:
    """`67,906 at depth 20 and 216,000 at depth 56`, if networks of a depth with batch norm differ in nothing else."""
    groups = runs[(runs["norm"] == "batch") & (runs["shortcut"] == "A")].groupby("depth")["parameters"]
    if not len(groups) or (groups.nunique() > 1).any():
        return ""
    return words.enumerated(f"{int(count):,} at depth {depth}" for depth, count in groups.first().items())


def _errors(found: Sequence[Measured]) -> list[str]:
    claims = [claim for measured in found for claim in measured.experiment.claims]
    used = {claim.metric for claim in claims} | {"valid_error" for claim in claims if claim.best_over}
    return [name for name in ERRORS if name in used]


def _limits(found: Sequence[Measured], verdicts: Sequence[Verdict], runs: "pd.DataFrame") -> list[str]:
    first, n = runs.iloc[0], min((v.n for v in verdicts if v.n), default=0)
    sizes: Mapping[str, Any] = {k: words.enumerated(map(str, runs[k].unique())) for k in ("width", "steps")}
    limits = [
        f"Scale: networks of width {sizes['width']}, trained for {sizes['steps']} steps with batches of "
        f"{first['batch']}. Nothing here shows that larger networks, longer training or other images behave alike.",
        f"Seeds: an estimate rests on {n} seeds or more. It is of the seed alone: the images are the same in all runs.",
        f"Many claims: the interval of each covers its own quantity. Of {len(verdicts)} such intervals, "
        f"{0.05 * len(verdicts):.1f} miss it on average, and no correction is made.",
    ]
    if any(v.metric in SHARES for v in verdicts):
        limits.append(
            f"Shares: when all of {n} seeds fail, the exact interval is still [{exact_interval(n, n).low:.2f}, 1]."
        )
    if changing := sum(v.changes_without not in ("", UNTESTED) for v in verdicts):
        limits.append(f"Stability: {changing} verdicts would be others without one of their seeds.")
    if exploring := sum(v.standing == "exploratory" for v in verdicts):
        limits.append(
            f"Registration: {exploring} of the {len(verdicts)} claims are exploratory: that they stood before their "
            "runs is not recorded in the runs."
        )
    limits.append(
        f"Machines: the runs were made on {words.enumerated(sorted(runs['device'].unique()))}. Other machines round "
        "differently; an estimate close to an end of its region may end up on its other side."
    )
    return limits
