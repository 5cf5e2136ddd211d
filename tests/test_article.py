import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from resnet_repro import article as verb
from resnet_repro import report
from resnet_repro.analysis import article, citations, frames, tables, typeset
from resnet_repro.analysis.claims import decide
from resnet_repro.analysis.verdicts import read_verdicts
from resnet_repro.errors import UserError
from resnet_repro.experiment import load

NAMES = report.collected(report.RESULTS)
needs_tex = pytest.mark.skipif(
    shutil.which("pdflatex") is None or shutil.which("bibtex") is None, reason="TeX is not installed"
)


@pytest.fixture(scope="module")
def text():
    return article.render(NAMES, report.RESULTS)


@pytest.fixture(scope="module")
def results_once(text, tmp_path_factory):
    place = tmp_path_factory.mktemp("article") / "results"
    shutil.copytree(report.RESULTS, place, ignore=shutil.ignore_patterns("*.png", "paper", "local", ".*"))
    (place / "paper").mkdir()
    (place / "paper" / "article.tex").write_text(text)
    (place / "paper" / "references.bib").write_text(citations.bibliography())
    return place


@pytest.fixture
def results(results_once, tmp_path):
    """The committed results with the article on them, without its PDF file."""
    return Path(shutil.copytree(results_once, tmp_path / "results"))


@pytest.fixture(scope="module")
def every():
    return [v for name in NAMES for v in read_verdicts(report.RESULTS / name / "verdicts.csv")]


def test_the_article_counts_the_verdicts_as_they_are(text, every):
    words = " ".join(text.split())
    assert f"judge {len(every)} claims" in words
    for kind in {v.verdict for v in every}:
        count = sum(v.verdict == kind for v in every)
        assert f"{count} {kind}" in words.split("Each claim names")[0]


def test_the_text_says_of_a_claim_what_its_verdict_says_and_praises_none(text, every):
    said = re.findall(r"Claim \d+ is (not answerable|\w+)", text)
    assert sorted(said) == sorted(v.verdict for v in every if v.verdict != "supported")


def test_a_verdict_that_changes_changes_the_sentence(every):
    v = next(v for v in every if v.verdict == "supported" and v.is_difference)
    assert tables.remark(1, v) == ""
    assert tables.remark(1, replace(v, verdict="refuted")).startswith("Claim 1 is refuted: the interval [")
    incomplete = tables.remark(2, replace(v, verdict="incomplete", missing=1))
    assert incomplete.startswith("Claim 2 cannot be decided yet: 1 run of it is missing.")


def test_runs_that_learned_nothing_are_named_beside_the_verdict(text):
    assert "Of its 12 runs, 2 ended at chance." in text  # plain nets as He initialised them, in without-norm-digits


def test_every_experiment_has_its_section_tables_and_figures(text):
    for name in NAMES:
        assert rf"\label{{sec:{name}}}" in text
        assert rf"\input{{../{name}/verdicts.tex}}" in text
        for caption in (report.RESULTS / name).glob("*.caption.tex"):
            assert rf"{{{name}/{caption.name.removesuffix('.caption.tex')}.pdf}}" in text


def test_the_article_has_no_character_that_latex_lacks(text):
    assert text.isascii()
    assert citations.bibliography().isascii()


def test_every_source_cited_has_an_entry(text):
    cited = set(re.findall(r"\\cite\{(.*?)\}", text))
    entries = re.findall(r"^@\w+\{(\w+),", citations.bibliography(), re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert {"he2015", "he2016", "resnet_repro"} <= cited <= set(entries)


def test_the_bibliography_says_what_citation_cff_says():
    own = citations.project()
    entry = citations.bibliography().split("\n\n")[0]
    assert entry.startswith("@misc{resnet_repro,")
    assert f"Version {own['version']}" in entry
    assert f"year = {{{own['date-released'].year}}}" in entry


def test_a_source_named_in_words_is_cited():
    assert citations.cited("as He et al. 2016 & others") == r"as He et al.~2016~\cite{he2016} \& others"


def test_the_committed_article_follows_from_the_data():
    assert article.verify(NAMES, report.RESULTS) == []


def test_an_article_that_was_changed_by_hand_is_found(results):
    path = results / "paper" / "article.tex"
    assert article.verify(NAMES, results) == []
    path.write_text(path.read_text().replace("refuted", "supported"))
    assert article.verify(NAMES, results) == [f"{path} differs from what the data give; make paper makes it anew"]


def test_a_pdf_file_of_other_results_is_found(results):
    pdf = results / "paper" / "article.pdf"
    pdf.write_bytes(b"%PDF of " + article.digest(results / "paper" / "article.tex").encode())
    assert article.verify(NAMES, results) == []
    table = results / NAMES[0] / "verdicts.tex"
    table.write_text(table.read_text() + "%")
    assert article.verify(NAMES, results) == [f"{pdf} is older than what it shows; make paper makes it anew"]


def test_a_file_that_nothing_makes_is_found(results):
    for name in ("notes.txt", "unknown-experiment.tex"):
        (results / "paper" / name).write_text("mine")
    assert [line.split("/")[-1] for line in article.verify(NAMES, results)] == [
        "notes.txt is extra: nothing makes it",
        "unknown-experiment.tex is extra: nothing makes it",
    ]


def test_results_without_an_article_are_in_order(tmp_path):
    assert article.verify(NAMES, tmp_path) == []


def test_without_tex_the_article_is_written_and_one_line_says_what_to_install(results, monkeypatch):
    monkeypatch.setattr(verb.shutil, "which", lambda program: None)
    monkeypatch.setattr(verb.report, "render", lambda name, results: None)
    path = results / "paper" / f"{NAMES[0]}.tex"
    with pytest.raises(UserError, match=r"is written, but there is no pdflatex and no bibtex: install TeX Live"):
        verb.main([NAMES[0], "--results", str(results)])
    assert path.read_text() == article.render([NAMES[0]], results)
    assert article.verify(NAMES, results) == []


def test_an_experiment_without_data_is_refused(results):
    with pytest.raises(UserError, match="tiny"):
        verb.main(["tiny", "--results", str(results)])


def test_an_article_on_a_sweep_that_is_not_finished_says_so(write_data, tmp_path):
    write_data(load("tiny"), tmp_path / "tiny", lambda s: None if s["seed"] else {"errors": 60.0})
    report.render("tiny", tmp_path)
    code = article.render(["tiny"], tmp_path)
    assert "4 of 8 runs are measured" in code
    assert "Claim 1 cannot be decided yet: 1 run of it is missing." in code


def test_nothing_measured_is_nothing_to_write_about(write_data, tmp_path):
    write_data(load("tiny"), tmp_path / "tiny", lambda s: None)
    report.render("tiny", tmp_path)
    with pytest.raises(UserError, match="nothing to write about"):
        article.render(["tiny"], tmp_path)


def test_only_runs_on_the_original_images_are_said_to_be_on_them(text, write_data, tmp_path):
    name = "shortcut-scale"  # on CIFAR-10
    folder = tmp_path / name
    write_data(load(name), folder, lambda s: {"errors": 7.0 + s["seed"] / 10})
    frame = frames.load(load(name), folder)
    verdicts = [decide(claim, frame) for claim in frame.experiment.claims]
    for table in (tables.verdict_table(verdicts, frame), tables.error_table(frame), tables.paper_table(frame)):
        typeset.write(table, folder)
    code = article.render([name], tmp_path)
    assert "No run was made on the images of the original" in text
    assert "No run was made on the images of the original" not in code
    assert "scale model" not in code
    assert rf"\input{{../{name}/paper.tex}}" in code


def test_verify_looks_at_the_article_too(results):
    (results / "paper" / "notes.txt").write_text("mine")
    assert report.verify([], results) == [f"{results / 'paper' / 'notes.txt'} is extra: nothing makes it"]


@needs_tex
def test_the_article_compiles_to_the_same_bytes_twice_with_no_overfull_box_and_no_open_reference(results, tmp_path):
    path = results / "paper" / "article.tex"
    pdf = verb.typeset(path)
    assert article.verify(NAMES, results) == []
    verb.compile_in(tmp_path, path)
    assert (tmp_path / "article.pdf").read_bytes() == pdf.read_bytes()
    log = (tmp_path / "article.log").read_text(errors="replace")
    for complaint in ("Overfull", "undefined", "multiply defined", "Missing character"):
        assert complaint not in log


PAGES = {
    "-column": r"\documentclass[twocolumn]{article}\usepackage[textwidth=6.85in,columnsep=0.25in]{geometry}",
    "": r"\documentclass{article}\usepackage[textwidth=5.5in]{geometry}",
}


@needs_tex
@pytest.mark.parametrize("suffix", PAGES)
def test_every_committed_table_and_figure_fits_a_paper_in_one_and_in_two_columns(suffix, tmp_path):
    lines = [PAGES[suffix], r"\usepackage[utf8]{inputenc}\usepackage{booktabs,tabularx,graphicx}", r"\begin{document}"]
    for folder in (report.RESULTS / name for name in NAMES):
        tables = [path for path in sorted(folder.glob(f"*{suffix}.tex")) if ".caption" not in path.name]
        lines += [rf"\input{{{path}}}\clearpage" for path in tables]
        for caption in sorted(folder.glob("*.caption.tex")):
            figure = folder / caption.name.replace(".caption.tex", f"{suffix}.pdf")
            lines += [
                rf"\begin{{figure}}\includegraphics{{{figure}}}\caption{{\protect\input{{{caption}}}}}\end{{figure}}"
            ]
        lines += [r"\clearpage"]
    (tmp_path / "t.tex").write_text("\n".join([*lines, r"\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "t.log").read_text(errors="replace")
    assert "Overfull" not in log
    assert "multiply" not in log
