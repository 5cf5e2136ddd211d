"""Yours beside ours: whether two measurements of one claim agree, and what differs in how they were made."""

import csv
import dataclasses
import shutil

import pytest

from resnet_repro import report
from resnet_repro.analysis.beside import Pair, compare
from resnet_repro.analysis.verdicts import read_verdicts

NAME = "degradation-digits"
COMMITTED = report.RESULTS / NAME


@pytest.fixture
def ours():
    return read_verdicts(COMMITTED / "verdicts.csv")[0]


def answer(ours, **changes):
    return Pair(dataclasses.replace(ours, **changes), ours).answer


def test_equal_verdicts_agree_and_equal_numbers_agree_to_the_digit(ours):
    assert answer(ours) == "agrees, to the digit"
    assert answer(ours, estimate=ours.estimate + 0.01) == "agrees"
    assert answer(ours, n=ours.n + 1) == "agrees"


def test_another_verdict_disagrees_and_one_with_runs_missing_is_open(ours):
    assert answer(ours, verdict="refuted") == "disagrees"
    assert answer(ours, verdict="incomplete", n=2) == f"open: n = 2 here, {ours.n} committed"


def test_verdicts_on_another_question_are_not_compared(ours):
    assert answer(ours, region_low=-1.0) == "asked differently"
    assert answer(ours, of="model plain, depth 110", verdict="refuted") == "asked differently"
    assert Pair(ours, None).answer == "not committed"


def changed_copy(folder, change):
    """The committed data of the experiment, each row changed or, where `change` gives None, left out."""
    shutil.copytree(COMMITTED / "data", folder / "data")
    path = folder / "data" / "runs.csv"
    with open(path, newline="") as file:
        rows = [new for row in csv.DictReader(file) if (new := change(row)) is not None]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_the_same_data_agree_on_every_claim_and_nothing_is_remarked(tmp_path):
    verdicts = read_verdicts(COMMITTED / "verdicts.csv")
    found = compare(verdicts, changed_copy(tmp_path, lambda row: row), COMMITTED)
    assert found.summary() == "This machine agrees on 8 of 8 claims, 8 of them to the digit."
    assert found.remarks == []


def test_what_differs_in_runs_images_and_devices_is_remarked(tmp_path):
    def change(row):
        return None if row["seed"] == "104" else row | {"data_sha256": "0" * 64, "device": "another CPU"}

    verdicts = read_verdicts(COMMITTED / "verdicts.csv")
    verdicts = [dataclasses.replace(verdicts[0], verdict="refuted"), *verdicts[1:]]
    found = compare(verdicts, changed_copy(tmp_path, change), COMMITTED)
    assert "disagrees on 1" in found.summary()
    text = " ".join(found.remarks)
    assert "42 runs are measured here, 48 committed" in text
    assert "The images differ" in text
    assert "Measured on another CPU here" in text


def test_the_page_of_what_was_measured_here_shows_both(tmp_path):
    shutil.copytree(COMMITTED / "data", tmp_path / NAME / "data")
    report.render(NAME, tmp_path)
    page = (tmp_path / NAME / "README.md").read_text()
    assert "## Yours beside ours" in page
    assert page.count("agrees, to the digit") == 8
    assert "## Yours beside ours" not in (COMMITTED / "README.md").read_text()
