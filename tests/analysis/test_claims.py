import math

import pytest

from resnet_repro.analysis import frames
from resnet_repro.analysis.claims import decide
from resnet_repro.analysis.verdicts import UNTESTED, is_current, read_verdicts
from resnet_repro.experiment import Claim, Experiment, digest
from resnet_repro.metrics import METRICS
from resnet_repro.report import render

PLAIN, RESNET = {"model": "plain"}, {"model": "resnet"}
INF = math.inf


@pytest.fixture
def judge(write_data, tmp_path):
    """judge(claim, of, minus): the verdict where the plain nets have the errors `of` and the ResNets `minus`.

    Each is {seed: error}, {seed: None} for a run not measured, {seed: "diverged"} for one that diverged.
    """

    def run(claim, of, minus, extra=None):
        seeds = list(dict.fromkeys([*of, *minus]))
        e = Experiment("made-up", "?", "none", [{"model": ["plain", "resnet"], "seed": seeds, **(extra or {})}], [], [])

        def outcome(settings):
            value = (of if settings["model"] == "plain" else minus)[settings["seed"]]
            if callable(value):
                value = value(settings)
            if value is None or isinstance(value, dict):
                return value
            return {"diverged_step": 5} if value == "diverged" else {"errors": value}

        write_data(e, tmp_path, outcome)
        return decide(claim, frames.load(e, tmp_path))

    return run


def difference(region, metric="train_error_clean", **other):
    return Claim("c", "A claim.", metric, PLAIN, region, RESNET, **other)


def one(region, metric="train_error_clean"):
    return Claim("c", "A claim.", metric, PLAIN, region)


LOW = dict.fromkeys(range(5), 1.0)
HIGH = {0: 11.0, 1: 12.0, 2: 13.0, 3: 14.0, 4: 15.0}
# 25 differences: each of 10 to 14 five times, of which the second from either end bounds the interval.


@pytest.mark.parametrize(
    ("region", "verdict"),
    [
        ([0, INF], "supported"),
        ([-INF, 0], "refuted"),
        ([12, INF], "inconclusive"),
        ([9.99, 14.01], "supported"),
        ([10, 14.01], "inconclusive"),
        ([14, 20], "refuted"),
        ([-20, 10], "refuted"),
    ],
)
def test_a_difference_is_decided_by_where_its_interval_lies(judge, region, verdict):
    v = judge(difference(region), HIGH, LOW)
    assert v.verdict == verdict
    assert (v.estimate, v.low, v.high, v.n) == (12, 10, 14, 5)
    assert (v.above, v.p) == (1, round(2 / 252, 6))


@pytest.mark.parametrize("region", [[0, INF], [-INF, 0], [-1, 0], [0, 1]])
def test_equal_is_neither_higher_nor_lower(judge, region):
    v = judge(difference(region), LOW, LOW)
    assert (v.estimate, v.above, v.p) == (0, 0.5, 1)
    assert v.verdict != "supported"


def test_no_difference_supports_within_one_point(judge):
    assert judge(difference([-1, 1]), LOW, LOW).verdict == "supported"


@pytest.mark.parametrize(
    ("region", "verdict"),
    [([1, 5], "supported"), ([0, 1], "supported"), ([1.0001, 5], "refuted"), ([0, 0.9999], "refuted")],
)
def test_the_ends_belong_to_the_region_of_a_median(judge, region, verdict):
    assert judge(one(region), LOW, LOW).verdict == verdict


def test_an_error_is_no_finer_than_half_an_image(judge):
    """Of 200 training images one is 0.5 %, so that 0 errors may stand for 0.25 % and two sides for 0.5 %."""
    images = {"errors": 0.0, "train_images": "200"}
    of = {seed: lambda _: images for seed in range(5)}
    v = judge(one([0, 1]), of, of)
    assert (v.estimate, v.low, v.high, v.verdict) == (0, 0, 0.25, "supported")
    v = judge(difference([-1, 1]), of, of)
    assert (v.low, v.high) == (-0.5, 0.5)


def test_four_seeds_decide_nothing(judge):
    four = {seed: HIGH[seed] for seed in range(4)}
    v = judge(difference([0, INF]), four, four)
    assert (v.low, v.high, v.n, v.verdict) == (-100, 100, 4, "inconclusive")
    assert judge(one([0, 99]), four, four).verdict == "inconclusive"


def test_a_missing_run_makes_the_claim_incomplete_and_the_rest_is_still_estimated(judge):
    v = judge(difference([0, INF]), HIGH | {5: 14.0}, LOW | {5: None})
    assert (v.verdict, v.missing, v.n, v.estimate) == ("incomplete", 1, 5, 12.5)


def test_with_no_run_at_all_there_is_no_estimate(judge):
    v = judge(one([0, 1]), {0: None, 1: None}, {0: 1.0, 1: 1.0})
    assert (v.verdict, v.missing, v.n) == ("incomplete", 2, 0)
    assert math.isnan(v.estimate)


def test_a_metric_that_was_not_measured_is_missing(judge):
    assert judge(one([0, 100], "valid_error"), LOW, LOW).missing == 5  # the split is full


def test_a_diverged_run_is_worse_than_any_number(judge):
    v = judge(difference([0, INF]), dict.fromkeys(range(5), "diverged"), LOW)
    assert (v.verdict, v.estimate, v.low, v.high) == ("supported", INF, INF, INF)
    assert (v.diverged, v.diverged_minus, v.failed_p) == (5, 0, round(2 / 252, 6))
    v = judge(one([0, 20]), HIGH | {4: "diverged"}, LOW)
    assert (v.estimate, v.high, v.verdict) == (13, INF, "inconclusive")


def test_where_neither_side_learned_there_is_no_answer(judge):
    stuck, diverged = dict.fromkeys(range(5), 90.0), dict.fromkeys(range(5), "diverged")
    for region in ([-1, 1], [0, INF]):
        v = judge(difference(region), stuck, diverged)
        assert (v.verdict, v.why) == ("not answerable", "no run of either side learned")
    assert judge(difference([0, INF]), stuck, LOW).verdict == "supported"


@pytest.mark.parametrize(
    ("failures", "region", "verdict"),
    [(8, [0.5, 1], "supported"), (7, [0.5, 1], "inconclusive"), (0, [0.5, 1], "refuted")],
)
def test_a_share_of_seeds_has_the_exact_interval(judge, failures, region, verdict):
    errors = {seed: 50.0 if seed < failures else 5.0 for seed in range(8)}
    v = judge(one(region, "failed"), errors, dict.fromkeys(range(8), 1.0))
    assert (v.verdict, v.estimate, v.failed) == (verdict, failures / 8, failures)
    if failures == 8:
        assert (v.low, v.high) == (round(0.025**0.125, 6), 1)  # Clopper and Pearson by hand: (α/2)^(1/n)
        assert v.changes_without == ""


def test_a_verdict_that_rests_on_one_seed_says_so(judge):
    of = {0: 9.0} | {seed: 1.0 + seed / 100 for seed in range(1, 9)}
    v = judge(one([0, 1.05]), of, of)
    # Of nine values the interval is from the second smallest to the second largest, of eight from end to end.
    assert (v.low, v.high, v.verdict) == (1.02, 1.08, "inconclusive")
    v = judge(one([0, 5]), of, of)
    assert (v.verdict, v.changes_without) == ("supported", "1 2 3 4 5 6 7 8")
    assert judge(one([0, 10]), of, of).changes_without == ""
    assert judge(difference([0, INF]), HIGH, LOW).changes_without == UNTESTED  # four seeds would decide nothing


def test_a_claim_is_registered_where_every_run_was_told_of_it_as_it_is(judge):
    claim = difference([0, INF])
    mark = digest(claim, [range(5), range(5)])

    def told(marks, but=None):
        return {s: lambda _, s=s: {"errors": 9.0, "claims": "cafe" if s == but else marks} for s in range(5)}

    v = judge(claim, told(f"c123 {mark}"), told(mark))
    assert (v.standing, v.since) == ("registered", "0123abc")
    for of, minus in [(told(mark), told("")), (told(mark, but=3), told(mark)), (told(mark[:-1]), told(mark))]:
        assert judge(claim, of, minus).standing == "exploratory"
    assert judge(difference([0.1, INF]), told(mark), told(mark)).standing == "exploratory"


RATES = {"data.split": "45k", "optim.lr": [0.1, 0.01, 0.001, 0.0001]}
BEST = {("plain", 0.01): 10, ("resnet", 0.001): 5}


def chosen(best, **other):
    """Outcomes of rates of which `best` have the lowest validation error; the test error would choose others."""

    def outcome(settings):
        valid = best.get((settings["model"], settings["lr"]), 40)
        return {"errors": dict.fromkeys(METRICS, 50.0 - valid) | {"valid_error": valid} | other}

    return dict.fromkeys(range(5), outcome)


def test_best_over_takes_each_sides_value_with_the_lowest_validation_error(judge):
    v = judge(difference([-INF, 0], best_over="lr"), chosen(BEST), chosen(BEST), RATES)
    assert (v.chosen, v.best_by) == ("of: lr 0.01; minus: lr 0.001", "valid_error")
    assert v.estimate == (50 - 10) - (50 - 5)
    assert v.verdict == "supported"


def test_best_over_may_choose_by_another_metric_and_a_diverged_run_is_the_worst(judge):
    def outcome(settings):
        if settings["lr"] == 0.1:
            return {"diverged_step": 3}
        losses = {0.01: 0.5, 0.001: 0.1, 0.0001: 0.9}
        return {"errors": dict.fromkeys(METRICS, 20.0) | {"train_loss": losses[settings["lr"]]}}

    of = dict.fromkeys(range(5), outcome)
    v = judge(difference([-1, 1], best_over="lr", best_by="train_loss"), of, of, RATES)
    assert (v.chosen, v.verdict, v.missing) == ("of: lr 0.001; minus: lr 0.001", "supported", 0)


@pytest.mark.parametrize(("rate", "end"), [(0.1, "largest"), (0.0001, "smallest")])
def test_a_best_value_at_an_end_of_those_tried_is_no_answer(judge, rate, end):
    best = BEST | {("plain", 0.01): 40, ("plain", rate): 10}
    v = judge(difference([-INF, 0], best_over="lr"), chosen(best), chosen(best), RATES)
    assert v.verdict == "not answerable"
    assert v.why == f"the best learning rate of plain net, {rate:g}, is the {end} tried"


def test_a_side_that_learns_at_no_rate_is_no_answer(judge):
    def outcome(settings):
        return {"errors": 90.0} if settings["model"] == "plain" else chosen(BEST)[0](settings)

    of = dict.fromkeys(range(5), outcome)
    v = judge(difference([0, INF], best_over="lr"), of, of, RATES)
    assert (v.verdict, v.why) == ("not answerable", "no run of plain net learned at any learning rate")


def test_best_over_is_incomplete_while_any_candidate_is_missing(judge):
    def errors(settings):
        return None if settings["lr"] == 0.1 and settings["seed"] == 2 else {"errors": 5.0 + settings["lr"]}

    of = dict.fromkeys(range(3), errors)
    claim = Claim("c", "A claim.", "test_error", PLAIN, [0, 100], best_over="lr")
    v = judge(claim, of, of, {"data.split": "45k", "optim.lr": [0.1, 0.01]})
    assert (v.verdict, v.missing, v.chosen, v.estimate) == ("incomplete", 1, "of: lr 0.01", 5.01)


def test_selection_tells_the_norm_called_none_from_no_value(write_data, tmp_path):
    grid = [{"model.norm": ["batch", "none"], "seed": [0, 1]}]
    e = Experiment("made-up", "?", "none", grid, [], [])
    write_data(e, tmp_path, lambda settings: {"errors": 1.0 if settings["norm"] == "none" else 2.0})
    measured = frames.load(e, tmp_path)
    claim = Claim("c", "A claim.", "test_error", {"norm": "none", "ghost_batch": None}, [0, 100])
    assert decide(claim, measured).estimate == 1
    assert list(measured.runs["norm"]) == ["batch", "batch", "none", "none"]


def test_rows_of_no_planned_run_are_left_out_and_counted(write_data, tmp_path):
    wide = Experiment("made-up", "?", "none", [{"seed": [0, 1, 2]}], [], [])
    write_data(wide, tmp_path, lambda settings: {"errors": 10.0 * settings["seed"]})
    narrow = Experiment("made-up", "?", "none", [{"seed": [0, 1]}], [], [])
    measured = frames.load(narrow, tmp_path)
    assert measured.unplanned == 1
    assert decide(Claim("c", "A claim.", "test_error", {}, [0, 100]), measured).estimate == 5


def test_a_run_named_twice_is_refused(write_data, tmp_path):
    e = Experiment("made-up", "?", "none", [{"seed": [0, 1]}], [], [])
    write_data(e, tmp_path, lambda settings: {"errors": 1.0})
    path = tmp_path / "data" / "runs.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    with pytest.raises(ValueError, match=r"names run resnet20-s1-\w+ twice"):
        frames.load(e, tmp_path)


def test_runs_on_different_data_are_not_mixed(write_data, tmp_path):
    e = Experiment("made-up", "?", "none", [{"seed": [0, 1]}], [], [])
    write_data(e, tmp_path, lambda settings: {"errors": 1.0, "data_sha256": str(settings["seed"]) * 64})
    with pytest.raises(ValueError, match=r"saw different data .*0000000000, 1111111111"):
        frames.load(e, tmp_path)


def test_two_data_sets_in_one_experiment_are_no_mixture(write_data, tmp_path):
    e = Experiment("made-up", "?", "none", [{"task": ["digits", "cifar10"], "seed": 0}], [], [])
    write_data(e, tmp_path, lambda settings: {"errors": 1.0, "data_sha256": settings["data"][0] * 64})
    assert frames.load(e, tmp_path).data == "digits and CIFAR-10"


def test_verdicts_come_back_from_the_file_as_they_were(write_data, tmp_path):
    from resnet_repro.experiment import load

    e = load("tiny")
    write_data(e, tmp_path / e.id, lambda settings: {"errors": 40.0 + settings["seed"] / 3})
    measured = frames.load(e, tmp_path / e.id)
    decided = [decide(claim, measured) for claim in e.claims]
    assert [repr(v) for v in render(e.id, tmp_path)] == [repr(v) for v in decided]  # repr, since nan is not nan
    assert [repr(v) for v in read_verdicts(tmp_path / e.id / "verdicts.csv")] == [repr(v) for v in decided]


def test_verdicts_of_another_version_are_told_from_those_of_this_one(write_data, tmp_path):
    path = tmp_path / "verdicts.csv"
    assert not is_current(path)
    path.write_text("claim,says,estimate\nc,A claim.,1\n")
    assert not is_current(path)
