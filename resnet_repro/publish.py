"""Takes what was measured here to the committed results, for maintainers: `python -m resnet_repro.publish ID`.

What is published can be made again by others: every run of the experiment is there, each was trained by code that is
committed, and so is the experiment file. Then: look at the difference, and commit results/<id>.
"""

import argparse
import csv
import gzip
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from resnet_repro import experiment, planning, project, report, terminal
from resnet_repro.analysis import history
from resnet_repro.collect import TABLES, check_sums, write_with_sums
from resnet_repro.errors import UserError, command


def publish(name: str, local: Path = project.LOCAL, results: Path = project.RESULTS) -> None:
    """Copies local/<name>/data to results/<name>/data and renders it; what the old data said goes to history.csv.

    Raises UserError, and leaves the results as they are, for data that are incomplete or come from code or an
    experiment file that is not committed.
    """
    e = experiment.load(name)
    if e.smoke:
        raise UserError(f"{name} only tries everything out and has no findings to publish; publish another experiment")
    data = local / name / "data"
    if not all((data / file).exists() for file in TABLES):
        raise UserError(f"{name} has no data in {data}; measure it first: {terminal.again('sweep', name)}")
    check_sums(data)
    with open(data / "runs.csv", newline="", encoding="utf-8") as file:
        rows = {row["run_id"]: row for row in csv.DictReader(file)}
    _check_complete(name, [plan.id for plan in planning.plan(e)], rows)
    _check_committed(rows)
    _check_file(experiment.file(name))
    _check_told(rows, experiment.file(name))
    there = results / name
    if (there / "data" / "runs.csv").exists() and any(_differs(file, data, there / "data") for file in TABLES):
        history.keep(there, time.strftime("%Y-%m-%d"))
    write_with_sums(there / "data", {file: (data / file).read_bytes() for file in TABLES})
    report.render(name, results)


def _differs(file: str, data: Path, there: Path) -> bool:
    return not (there / file).exists() or _content(data / file) != _content(there / file)


def _content(path: Path) -> bytes:
    """What the file says; equal points are compressed to other bytes by another zlib."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _check_complete(name: str, planned: Sequence[str], rows: Mapping[str, Mapping[str, str]]) -> None:
    if missing := [run for run in planned if run not in rows]:
        raise UserError(
            f"{len(missing)} of {len(planned)} runs of {name} are missing ({missing[0]}, ...); train them first: "
            f"{terminal.again('sweep', name)}"
        )


def _check_committed(rows: Mapping[str, Mapping[str, str]]) -> None:
    unclean = [run for run, row in rows.items() if row["commit"].endswith("-dirty") or row["commit"] == "unknown"]
    if unclean:
        raise UserError(
            f"{len(unclean)} runs were trained by code that is not committed ({unclean[0]}: commit "
            f"{rows[unclean[0]]['commit']}); commit the code, move the folders of these runs away, and sweep again"
        )


def _check_file(path: Path | None) -> None:
    """Refuses an experiment file that differs from what is committed, so that its claims stand before its data."""
    assert path is not None  # it was loaded
    asked = ["git", "-C", str(path.parent), "status", "--porcelain", "--", path.name]
    answer = subprocess.run(asked, capture_output=True, encoding="utf-8", check=False)
    if answer.returncode != 0:
        raise UserError(f"whether {path} is committed cannot be told: {answer.stderr.strip()}; publish from a checkout")
    if answer.stdout.strip():
        raise UserError(f"{path} is not committed as it is; commit it, with its claims, before what was measured")


def _check_told(rows: Mapping[str, Mapping[str, str]], path: Path | None) -> None:
    """Refuses runs that were told of claims by a file that their commit does not hold: its history proves nothing."""
    assert path is not None  # it was loaded
    for commit in sorted({row["commit"] for row in rows.values() if row.get("claims")}):
        asked = ["git", "-C", str(path.parent), "cat-file", "-e", f"{commit}:./{path.name}"]
        if subprocess.run(asked, capture_output=True, check=False).returncode != 0:
            raise UserError(
                f"runs of commit {commit} were told of claims, and that commit has no {path.name}: the claims were not "
                "committed before the sweep; commit them, move the folders of these runs away, and sweep again"
            )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m resnet_repro.publish", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("experiment", metavar="ID", help="the experiment")
    parser.add_argument("--from", dest="local", type=Path, default=project.LOCAL, metavar="DIR", help="where it lies")
    parser.add_argument("--results", type=Path, default=project.RESULTS, metavar="DIR", help="where it goes")
    options = parser.parse_args()
    publish(options.experiment, options.local, options.results)
    folder = options.results / options.experiment
    terminal.show(experiment.load(options.experiment), folder, None)
    print(f"next    git add -N {terminal.relative(folder)} && git diff    then make paper, and commit both")


if __name__ == "__main__":
    command(main)
