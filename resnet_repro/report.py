"""Verdicts, tables and figures from the measured data: `python -m resnet_repro.report [ID ...] [--verify]`.

For each experiment with data in results/<id>/data it writes results/<id>/README.md, verdicts and errors as Markdown,
LaTeX and CSV, the figures with the numbers drawn, report.html with its data, and manifest.json; then the pages on all
of them. Every byte follows from the data, the experiment file and this code. Where nothing has changed since it was
rendered, nothing is done.

    results/<id>/manifest.json       committed: the hashes of what was measured and of what was made of it
    results/.rendered/<id>.json      not committed: those, and the hashes of the code that made it
    results/local/                   not committed: the same of what was measured here, beside what is committed
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from resnet_repro import experiment, project, terminal
from resnet_repro.analysis.claims import decide
from resnet_repro.analysis.verdicts import Verdict, is_current, read_verdicts
from resnet_repro.collect import TABLES
from resnet_repro.config import ConfigError
from resnet_repro.errors import UserError, sentence
from resnet_repro.places import command
from resnet_repro.project import COMMITTED, LOCAL, RESULTS
from resnet_repro.records import write_atomically

COMPARED = ("verdicts.csv", "data/runs.csv")
"""What of the committed results stands beside what was measured here."""
SOURCES = (
    "config.py",
    "grammar.py",
    "settings.py",
    "documents.py",
    "typed.py",
    "experiment.py",
    "planning.py",
    "power.py",
    "stats.py",
    "collect.py",
    "report.py",
    "analysis/**/*.py",
    "analysis/*.yaml",
    "analysis/paper/*",
    "analysis/site/*.*",
)


def collected(results: Path) -> list[str]:
    """The experiments that have data in the results folder."""
    return [name for name in experiment.ids() if (results / name / "data" / "runs.csv").exists()]


def render(name: str, results: Path = RESULTS) -> list[Verdict]:
    """Brings results/<name>/ up to date, and what shows all experiments; returns the verdicts.

    Nothing is rendered when neither what goes in, nor the code, nor what comes out has changed since the last time.
    Raises UserError for an experiment that does not exist or has no data, for data
    that contradict themselves, and for a figure that cannot be drawn.
    """
    folder = results / name
    old = _manifest(folder)
    inputs, stamp = _inputs(name, folder), results / ".rendered" / f"{name}.json"
    state = {"inputs": inputs, "outputs": _hashes(folder, old["outputs"]), "code": _code()}
    if old["inputs"] != inputs or old["outputs"] != state["outputs"] or _read(stamp) != state:
        with TemporaryDirectory(prefix=".rendering-", dir=folder) as place:
            fresh = _render_into(Path(place), name, folder)
            for file in [*fresh, "manifest.json"]:  # the manifest last: without it the rest is rendered again
                os.replace(Path(place) / file, folder / file)
        for stale in set(old["outputs"]) - set(fresh):
            (folder / Path(stale).name).unlink(missing_ok=True)
        stamp.parent.mkdir(exist_ok=True)
        write_atomically(stamp, json.dumps(_manifest(folder) | {"code": state["code"]}).encode())
    for path, text in together(results).items():
        if _compare(path, text.encode()):
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, text.encode())
    return read_verdicts(folder / "verdicts.csv")


def _render_into(place: Path, name: str, folder: Path) -> list[str]:
    """Writes all of results/<name> but the data into `place`; returns the names of the files but the manifest."""
    from resnet_repro.analysis import beside, figures, frames, history, page, site, tables, typeset

    e = experiment.load(name)
    measured = frames.load(e, folder)
    if measured.unplanned:
        print(f"{name}: {measured.unplanned} collected runs belong to no run of the plan and are left out")
    verdicts = [decide(claim, measured) for claim in e.claims]
    found = [tables.verdict_table(verdicts, measured), tables.error_table(measured), tables.paper_table(measured)]
    shown = [table for table in found if table is not None]
    for table in shown:
        typeset.write(table, place)
    captions = {figure.name: figures.render(figure, measured, place) for figure in e.figures}
    ours = committed(name, folder.parent)
    pairs = None if ours is None else beside.compare(verdicts, folder, ours)
    earlier = history.earlier(folder)
    text = page.experiment_page(
        measured, verdicts, shown, captions, earlier=history.section(earlier, verdicts), beside=pairs
    )
    pages = {
        "README.md": text,
        **site.of_experiment(measured, verdicts, shown, captions, earlier=earlier, beside=pairs),
    }
    for file, content in pages.items():
        (place / file).write_text(content, encoding="utf-8")
    files = sorted(path.name for path in place.iterdir())
    manifest = {"inputs": _inputs(name, folder), "outputs": _hashes(place, files)}
    (place / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return files


def committed(name: str, results: Path) -> Path | None:
    """The folder of the experiment's committed results, to be shown beside those in another results folder."""
    ours = COMMITTED / name
    return ours if results.resolve() != COMMITTED and is_current(ours / "verdicts.csv") else None


def together(results: Path = RESULTS) -> dict[Path, str]:
    """The pages that follow from every experiment's verdicts.csv, each with its text.

    results/README.md and results/site/; and of a checkout's own results docs/questions.md in each language.
    """
    from resnet_repro.analysis import site, story

    names = [name for name in collected(results) if is_current(results / name / "verdicts.csv")]
    verdicts = {name: read_verdicts(results / name / "verdicts.csv") for name in names}
    experiments = {name: experiment.load(name) for name in names}
    drawn = {
        name: [figure for figure in e.figures if (results / name / f"{figure.name}.svg").exists()]
        for name, e in experiments.items()
    }
    pages = {results / "README.md": story.overview(verdicts, experiments)}
    pages |= {results / "site" / file: text for file, text in site.of_all(verdicts, experiments, drawn).items()}
    docs = results.parent / "docs"
    if (docs / "questions.md").exists():
        files = {"en": "questions.md", "zh": "questions.zh.md"}
        pages |= {docs / file: story.questions(verdicts, language) for language, file in files.items()}
    return pages


# Manifest ------------------------------------------------------------------------------------------------------


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = _read(folder / "manifest.json")
        return {"inputs": dict(manifest["inputs"]), "outputs": dict(manifest["outputs"])}
    except (KeyError, TypeError, ValueError):
        return {"inputs": {}, "outputs": {}}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _inputs(name: str, folder: Path) -> dict[str, str]:
    """What was asked and measured: the experiment and its data."""
    if not all((folder / "data" / file).exists() for file in TABLES):
        experiment.load(name)
        raise ConfigError(f"experiment {name} has no data in {folder / 'data'}; run its sweep first")
    data = _hashes(folder, sorted(p.relative_to(folder).as_posix() for p in (folder / "data").rglob("*")))
    ours = committed(name, folder.parent)
    beside = {} if ours is None else {f"committed/{k}": v for k, v in _hashes(ours, COMPARED).items()}
    yaml = experiment.file(name)
    return data | beside | ({} if yaml is None else {f"experiments/{name}.yaml": _hash(yaml)})


def _code() -> dict[str, str]:
    """What else the outputs follow from: the config, which names the runs of a plan, and the code of the analysis."""
    folders = [folder for folder in (project.CONF, project.own_conf()) if folder is not None]
    conf = [path for folder in folders for path in sorted(folder.rglob("*.yaml"))]
    code = [path for glob in SOURCES for path in sorted(project.PACKAGE.glob(glob))]
    return {str(path): _hash(path) for path in conf + code}


def _hashes(folder: Path, files: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each of the files that exists."""
    return {file: _hash(folder / file) for file in files if (folder / file).is_file()}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Verification --------------------------------------------------------------------------------------------------


def verify(names: Sequence[str], results: Path = RESULTS) -> list[str]:
    """Renders everything anew elsewhere; returns one line for each file that differs, is missing or is extra."""
    from resnet_repro.analysis import article

    with ProcessPoolExecutor(mp_context=get_context("fork")) as pool:  # matplotlib draws in one thread
        problems = [line for lines in pool.map(partial(_verify_one, results), names) for line in lines]
    for data in sorted(results.glob("*/data")):
        if data.parent.name not in experiment.ids():
            problems.append(f"{data.parent} belongs to no experiment")
    problems += article.verify(collected(results), results)
    pages = together(results)
    problems += [line for path, text in pages.items() if (line := _compare(path, text.encode()))]
    extra = sorted(path for path in (results / "site").glob("*") if path not in pages)
    return problems + [f"{path} is extra: nothing makes it" for path in extra]


def _verify_one(results: Path, name: str) -> list[str]:
    folder = results / name
    with TemporaryDirectory() as place:
        fresh = [*_render_into(Path(place), name, folder), "manifest.json"]
        problems = [line for file in fresh if (line := _compare(folder / file, (Path(place) / file).read_bytes()))]
    extra = sorted(path for path in folder.iterdir() if path.name not in (*fresh, "data"))
    return problems + [f"{path} is extra: nothing makes it" for path in extra]


def _compare(path: Path, expected: bytes) -> str:
    if not path.exists():
        return f"{path} is missing"
    return "" if path.read_bytes() == expected else f"{path} differs from what the data give"


# Command line --------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 1 when --verify finds a difference, or an experiment has no report."""
    parser = argparse.ArgumentParser(prog="python -m resnet_repro.report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("ids", nargs="*", metavar="ID", help="an experiment; all that have data when none is named")
    parser.add_argument("--results", type=Path, metavar="DIR", help=f"where the data lie ({RESULTS} and {LOCAL})")
    parser.add_argument(
        "--verify", action="store_true", help=f"compare the files (in {RESULTS}) with a fresh rendering"
    )
    options = parser.parse_args(arguments)
    places = [options.results] if options.results else [RESULTS] if options.verify else [RESULTS, LOCAL]
    return _run(options.ids, list(dict.fromkeys(places)), options.verify)


def _run(ids: Sequence[str], places: Sequence[Path], verifying: bool) -> int:
    found = [(name, place) for place in places for name in collected(place) if not ids or name in ids]
    # What is asked for and has no data is said to have none.
    found += [(name, places[0]) for name in ids if name not in [there for there, _ in found]]
    if not found:
        raise ConfigError(f"no experiment has data in {' or '.join(map(str, places))}; run a sweep first")
    if verifying:
        names = [name for name, _ in found]
        problems = verify(names, places[0])
        print("\n".join(problems or [f"{', '.join(names)}: every file follows from the data"]))
        return int(bool(problems))
    return max(int(_failed(name, place)) for name, place in found)


def _failed(name: str, results: Path) -> bool:
    """Renders and prints an experiment's results; whether that failed, since one's mistake leaves the others theirs."""
    try:
        render(name, results)
    except UserError as error:
        print(f"error: {sentence(error)}\n", file=sys.stderr)
        return True
    terminal.show(experiment.load(name), results / name, committed(name, results))
    return False


def cli() -> NoReturn:
    """The command, `resnet-report`."""
    command(main)


if __name__ == "__main__":
    cli()
