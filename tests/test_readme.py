"""What the repository says of itself: the README's verdicts, its commands, and files that must name no host."""

import csv
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from resnet_repro import experiment

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def committed(name):
    with open(ROOT / "results" / name / "verdicts.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_readme_shows_committed_verdicts_of_the_default_experiment_as_they_are():
    verdicts = {verdict["says"]: verdict for verdict in committed("degradation-digits")}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in README.splitlines() if line.startswith("|")]
    shown = [row for row in rows if row[0] in verdicts]
    assert len(shown) >= 3
    for says, estimate, n, decided in shown:
        verdict = verdicts[says]
        assert decided == f"**{verdict['verdict']}**"
        assert n == verdict["n"]
        assert float(re.sub("−", "-", estimate.split()[0])) == round(float(verdict["estimate"]), 2)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in (ROOT / "results").glob("*/verdicts.csv")))
def test_the_readme_counts_the_verdicts_of_each_experiment(name):
    command = "make sweep" if name == "degradation-digits" else f"make sweep EXP={name}"
    (said,) = re.findall(rf"`{command}`: \[([^]]*)\]\(results/{name}/README.md\) \|", README)
    verdicts = Counter(verdict["verdict"] for verdict in committed(name))
    said = re.sub(r" of \d+( claims)?", "", said)
    assert {verdict: int(count) for count, verdict in re.findall(r"(\d+) (not answerable|\w+)", said)} == verdicts


def test_every_make_target_and_experiment_the_readme_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"make ([a-z][a-z-]+)", README))
    assert named <= targets | {"it"}
    assert set(re.findall(r"EXP=([a-z0-9-]+)", README)) <= set(experiment.ids())


def test_every_file_the_readme_links_exists():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_lock_and_the_build_files_name_no_address():
    files = ["requirements.lock", "pins.in", "pyproject.toml", "Makefile", ".ci/run"]
    assert [file for file in files if "://" in (ROOT / file).read_text()] == []


def test_no_tracked_file_is_of_a_size_that_does_not_belong_in_git():
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    sizes = {name: (ROOT / name).stat().st_size for name in tracked.stdout.split("\0") if (ROOT / name).is_file()}
    assert [name for name, size in sizes.items() if size > 2 * 2**20] == []
