"""The results as pages to explore in a browser, from files alone: no server, no network, nothing but what lies there.

    results/<id>/report.html        an experiment: verdicts, curves to explore, figures, tables, how to do it again
    results/<id>/report-runs.js     its runs: settings, numbers, provenance
    results/<id>/report-points.js   what was measured on the way
    results/<id>/report-surfaces.js what was measured over two axes, where there is some
    results/site/index.html         all claims as a story
    results/site/runs.html          every run, and any two of them side by side
    results/site/questions.html     questions with answers, as docs/questions.md; in Chinese questions.zh.html
    results/site/*.css, *.js        what the pages share

A page that is opened from disk may load scripts and no other data, so the data are scripts that call `site.runs`,
`site.points` and `site.surfaces`. Charts are drawn by chart.js: the one library that draws as much without a network
comes to Python as a browser engine of 33 MB, and its bytes change with its version, which `verify` would take for an
edited result.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis import figures, page, story, tables
from resnet_repro.analysis.beside import Beside
from resnet_repro.analysis.frames import Measured
from resnet_repro.analysis.history import earlier_table
from resnet_repro.analysis.site import cards, data
from resnet_repro.analysis.typeset import Table
from resnet_repro.analysis.verdicts import VERDICTS, Verdict
from resnet_repro.experiment import Experiment, Figure, file

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

HERE = Path(__file__).resolve().parent
ASSETS = ("site.css", "data.js", "chart.js", "explore.js", "surface.js", "runs.js")
QUESTIONS = {"en": "questions.html", "zh": "questions.zh.html"}
PICTURES = {
    "SVG": ".svg",
    "PNG": ".png",
    **{kind: rest for kind, rest in page.FIGURE_FILES.items() if kind != "SVG"},
}
"""The files of a figure, after its name."""


def of_experiment(
    measured: Measured,
    verdicts: Sequence[Verdict],
    shown: Sequence[Table],
    captions: Mapping[str, str],
    *,
    earlier: Sequence[Mapping[str, str]] = (),
    beside: Beside | None = None,
) -> dict[str, str]:
    """The files in results/<id>/ that make its page, by name. The arguments are those of `page.experiment_page`.

    earlier: the rows of history.csv.
    """
    e = measured.experiment
    yaml = file(e.id)
    done = measured.runs[measured.runs["measured"]]
    surfaces = data.surfaces(measured)
    pictures = [(figure, figures.title(figure, measured), captions[figure.name]) for figure in e.figures]
    html = _environment().get_template("report.html.jinja").render(
        e=e,
        measured=measured,
        count=page.count(measured).replace("`", ""),
        verdicts=_counts(verdicts),
        cards=[cards.card(number, v, measured, earlier) for number, v in enumerate(verdicts, 1)],
        figures=[(f, head, words, not words.startswith("Not drawn")) for f, head, words in pictures],
        pictures=PICTURES,
        surfaces=bool(surfaces),
        tables=shown,
        earlier=earlier_table(earlier, verdicts),
        beside=(page.beside_table(beside), beside) if beside else None,
        provenance=page.provenance(done),
        yaml="" if yaml is None else yaml.read_text(encoding="utf-8"),
    )  # fmt: skip
    return {
        "report.html": html,
        "report-runs.js": data.runs(measured),
        "report-points.js": data.points(measured),
        **({"report-surfaces.js": surfaces} if surfaces else {}),
    }


def of_all(
    verdicts: Mapping[str, Sequence[Verdict]],
    experiments: Mapping[str, Experiment],
    drawn: Mapping[str, Sequence[Figure]],
) -> dict[str, str]:
    """The files in results/site/, by name, from the verdicts of every experiment that has some.

    drawn: of each experiment the figures that there is a picture of.
    """
    chapters = [
        (title, [(experiments[name], _with_paper(experiments[name], verdicts[name])) for name in names])
        for title, names in story.chapters(list(verdicts))
    ]
    lead = next(((e, figure) for _, told in chapters for e, _ in told for figure in drawn[e.id]), None)
    every = [v for decided in verdicts.values() for v in decided]
    pages = _environment()
    shared = {
        "chapters": chapters,
        "lead": lead and (*lead, figures.title(lead[1])),
        "claims": _counts(every),
        "registered": story.registered(sum(v.standing == "registered" for v in every), len(every)),
        "estimate": tables.estimate,
        "region": tables.region,
        "ids": list(verdicts),
    }
    return {
        **{f"{name}.html": pages.get_template(f"{name}.html.jinja").render(shared) for name in ("index", "runs")},
        **{
            file: pages.get_template("questions.html.jinja").render(
                lang=lang, words=story.WORDS[lang], asked=story.asked(verdicts, lang), estimate=tables.estimate
            )
            for lang, file in QUESTIONS.items()
        },
        **{name: (HERE / name).read_text(encoding="utf-8") for name in ASSETS},
    }


def _with_paper(e: Experiment, verdicts: Sequence[Verdict]) -> list[tuple[Verdict, str]]:
    """Each verdict with what the authors cited found."""
    papers = {claim.id: claim.paper for claim in e.claims}
    return [(v, papers[v.claim]) for v in verdicts]


def _counts(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """How many there are of each verdict, of those that there are."""
    counts = {kind: sum(v.verdict == kind for v in verdicts) for kind in VERDICTS}
    return {kind: count for kind, count in counts.items() if count}


def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"slug": _slug, "emphasised": _emphasised}
    return environment


def _emphasised(words: str) -> "Markup":
    """Words with `*emphasis*`, the one mark that answers have, for HTML."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"\*(.+?)\*", r"<em>\1</em>", str(escape(words))))


def _slug(verdict: Any) -> str:
    """`not answerable` as a class of the style sheet: `not-answerable`."""
    return str(verdict).replace(" ", "-")
