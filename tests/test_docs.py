"""The commands, programs and files that the documentation shows are tried: what is long is only planned."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_repro import experiment, grammar, planning, project, settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(kind):
    """(page, text) of each fenced block of that kind."""
    return [
        (page, text)
        for page in PAGES
        for text in re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    ]


def named(cases):
    return [pytest.param(*case, id=f"{case[0].name}-{k}") for k, case in enumerate(cases)]


COMMANDS = [
    (page, line)
    for page, text in [*blocks("sh"), *blocks("text")]
    for line in text.splitlines()
    if re.match(r"make |\.venv/bin/python -m |resnet-", line)
]


@pytest.fixture
def own_experiments(tmp_path, monkeypatch):
    """The experiments there are and those that the pages write, in a folder of their own."""
    for path in (ROOT / "experiments").glob("*.yaml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for _, text in blocks("yaml"):
        if named := re.match(r"# experiments/(.*\.yaml)\n", text):
            (tmp_path / named[1]).write_text(text, encoding="utf-8")
    monkeypatch.setattr(project, "EXPERIMENTS", (tmp_path,))
    return tmp_path


@pytest.mark.parametrize(("page", "line"), named(COMMANDS))
def test_a_command_does_what_the_page_says_as_far_as_planning_it_shows(page, line, own_experiments):
    words = shlex.split(line, comments=True)
    for module, arguments in python_commands(words):
        assert importlib.util.find_spec(module)
        overrides = [word for word in arguments if "=" in word and not word.startswith("hydra")]
        if module == "resnet_repro.train":
            for cell in grammar.product(overrides):
                settings.compose(cell)
        elif module in ("resnet_repro.sweep", "resnet_repro.campaign"):
            for name in experiments_in(arguments):
                assert planning.plan(experiment.load(name), overrides)


def python_commands(words):
    """The `python -m resnet_repro...` that a command line comes to, each as (module, arguments)."""
    if words[0] == "make":
        shown = subprocess.run(
            ["make", "-n", "-s", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True, encoding="utf-8"
        ).stdout.replace("\\\n", " ")
        lines = [shlex.split(line) for line in shown.splitlines() if "-m resnet_repro" in line]
    elif words[0].startswith("resnet-"):
        lines = [["-m", words[0].replace("resnet-", "resnet_repro."), *words[1:]]]
    else:
        lines = [words]
    firsts = [(line, line.index("-m")) for line in lines]
    ends = [next((n for n, word in enumerate(line) if word in ("||", "&&", "|")), len(line)) for line in lines]
    return [(line[k + 1], line[k + 2 : end]) for (line, k), end in zip(firsts, ends, strict=True)]


def experiments_in(arguments):
    given = [word for word in arguments if word in experiment.ids()]
    lists = [arguments[k + 1].split(",") for k, word in enumerate(arguments) if word == "--experiments"]
    found = given + [name for names in lists for name in names]
    assert found
    return found


@pytest.mark.parametrize(("page", "text"), named(blocks("yaml")))
def test_an_experiment_shown_on_a_page_can_be_planned(page, text, own_experiments):
    if found := re.match(r"# experiments/(.*)\.yaml\n", text):
        assert planning.plan(experiment.load(found[1]))


SHATTERED = ROOT / "docs" / "shattered-gradients.md"
PROGRAMS = {page for page, _ in blocks("python")} - {SHATTERED, ROOT / "docs" / "notebook.md"}  # tests/test_wheel.py


@pytest.mark.parametrize("page", sorted(PROGRAMS), ids=lambda p: p.name)
def test_the_programs_of_a_page_run_one_after_the_other(page):
    program = "\n".join(text for where, text in blocks("python") if where == page)
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=ROOT, check=True, capture_output=True)


def test_the_program_on_shattered_gradients_prints_what_its_page_shows():
    (program,), (shown,) = ([text for page, text in blocks(kind) if page == SHATTERED] for kind in ("python", "text"))
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for line, expected in zip(printed.splitlines(), shown.splitlines(), strict=True):
        assert line[:38] == expected[:38]
        found, said = ([float(value) for value in text[38:].split()] for text in (line, expected))
        assert found == pytest.approx(said, abs=0.021)


def test_every_page_links_only_to_what_exists():
    for page in PAGES:
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_site_is_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "-d", str(tmp_path / "site")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    pages = {path.stem for path in PAGES} - {"README"}
    assert pages <= {path.stem for path in (tmp_path / "site").glob("*.html")}
    assert (tmp_path / "site" / "results" / "degradation-digits" / "curves.svg").exists()
