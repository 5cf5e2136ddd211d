"""All results as a story and as questions: what is measured stands in it once, and no answer outlives its verdict."""

import re
from dataclasses import replace

import pytest

from resnet_repro import experiment, report
from resnet_repro.analysis import story
from resnet_repro.analysis.reasons import REASONS, reason
from resnet_repro.analysis.verdicts import read_verdicts
from resnet_repro.documents import read

NAMES = report.collected(report.RESULTS)
DECIDED = {name: read_verdicts(report.RESULTS / name / "verdicts.csv") for name in NAMES}
EXPERIMENTS = {name: experiment.load(name) for name in NAMES}


def test_every_experiment_stands_in_one_part_of_the_story_in_its_order_and_a_strange_one_comes_last():
    names = ["mine", "spectrum-digits", "deep-digits", "degradation-jpeg", "degradation"]
    assert dict(story.chapters(names)) == {
        "What happens": ["degradation-jpeg", "degradation", "deep-digits"],
        "What it is": ["spectrum-digits"],
        story.REST: ["mine"],
    }
    listed = [name for part in read(story.STORY).values() for name in part]
    assert len(listed) == len(set(listed))


def test_every_measured_experiment_has_its_place_in_the_story():
    assert story.REST not in dict(story.chapters(NAMES))


def test_the_overview_says_of_each_claim_what_it_rests_on():
    v = DECIDED["degradation-digits"][0]
    changed = replace(v, changes_without="103", standing="exploratory")
    shown = story.overview({"degradation-digits": [changed]}, EXPERIMENTS)
    (row,) = [line for line in shown.splitlines() if v.says in line]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    paper = next(c.paper for c in EXPERIMENTS["degradation-digits"].claims if c.id == v.claim)
    assert cells[4:] == ["supported, exploratory", "not supported without seed 103", paper]
    assert paper


def test_every_refuted_claim_says_why_while_it_is_refuted():
    refuted = [(name, v) for name, decided in DECIDED.items() for v in decided if v.verdict == "refuted"]
    assert refuted
    shown = story.overview(DECIDED, EXPERIMENTS)
    for name, v in refuted:
        page = (report.RESULTS / name / "README.md").read_text(encoding="utf-8")
        assert f"**refuted**: *{v.says}* {reason(name, v)}" in shown
        assert f"is refuted: {reason(name, v)}" in page
        assert len(reason(name, v)) > 50
        assert reason(name, replace(v, verdict="supported")) == ""


def test_every_reason_is_of_a_claim_that_is_measured_and_has_that_verdict():
    for name, known in read(REASONS).items():
        v = story.found(DECIDED, name)
        assert v is not None, name
        assert v.verdict == known["verdict"] != "supported", name


def test_what_the_paper_found_is_no_part_of_what_was_registered():
    claim = EXPERIMENTS["degradation-digits"].claims[0]
    assert experiment.digest(claim, [[1, 2]]) == experiment.digest(replace(claim, paper="something else"), [[1, 2]])


@pytest.mark.parametrize("language", story.WORDS)
def test_every_answer_rests_on_the_verdicts_for_which_it_was_written(language):
    text = story.questions(DECIDED, language)
    assert story.WORDS[language]["changed"] not in text
    asked = read(story.QUESTIONS)
    assert text.count("\n## ") == len(asked)
    assert text.count("\n- **") == sum(len(one["backs"]) for one in asked)
    assert text.count(f"*{story.WORDS[language]['none']}*") == sum(not one["backs"] for one in asked)


def test_an_answer_whose_verdict_has_changed_says_so():
    v = DECIDED["degradation-digits"][2]
    text = story.questions({**DECIDED, "degradation-digits": [replace(v, verdict="refuted")]}, "en")
    assert text.count(story.WORDS["en"]["changed"]) >= 1
    assert f"- **refuted** (when the answer was written: supported): {v.says}" in text
    assert "- degradation-digits/resnet-56-below-plain-56: Not measured here yet." in text


def test_an_answer_has_three_sentences_at_most():
    for one in read(story.QUESTIONS):
        plain = re.sub(r"\(.*?\)|et al\.|\d\.\d|fig\.", "", one["answer"])
        assert 2 <= len(re.findall(r"[.!?](?:\s|$)", plain)) <= 4, one["question"]
        assert one["zh"]["answer"].count("。") <= 4
