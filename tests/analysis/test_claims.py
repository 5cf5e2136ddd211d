import math

import pytest

from resnet_repro.analysis import frames
from resnet_repro.analysis.claims import decide, read_verdicts
from resnet_repro.experiment import Claim, Experiment
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


def mean(region, metric="train_error_clean"):
    return Claim("c", "A claim.", metric, PLAIN, region)


LOW = {0: 1.0, 1: 1.0, 2: 1.0}
HIGH = {0: 11.0, 1: 12.0, 2: 13.0}  # 11 ± 2.4841 above LOW: t(2, 0.975) = 4.3027, s = 1


@pytest.mark.parametrize(
    ("region", "verdict"),
    [
        ([0, INF], "supported"),
        ([-INF, 0], "refuted"),
        ([11, INF], "inconclusive"),
        ([8.51, 13.49], "supported"),
        ([8.52, 13.49], "inconclusive"),
        ([13.49, 20], "refuted"),
        ([-20, 8.51], "refuted"),
    ],
)
def test_a_difference_is_decided_by_where_its_interval_lies(judge, region, verdict):
    v = judge(difference(region), HIGH, LOW)
    assert v.verdict == verdict
    assert (v.estimate, v.low, v.high, v.n) == pytest.approx((11, 11 - 4.302653 / 3**0.5, 11 + 4.302653 / 3**0.5, 3))


@pytest.mark.parametrize("region", [[0, INF], [-INF, 0], [-1, 0], [0, 1]])
def test_equal_is_neither_higher_nor_lower(judge, region):
    assert judge(difference(region), LOW, LOW).verdict == "refuted"


def test_no_difference_supports_within_one_point(judge):
    assert judge(difference([-1, 1]), LOW, LOW).verdict == "supported"


@pytest.mark.parametrize(
    ("region", "verdict"),
    [([1, 5], "supported"), ([0, 1], "supported"), ([1.0001, 5], "refuted"), ([0, 0.9999], "refuted")],
)
def test_the_ends_belong_to_the_region_of_a_mean(judge, region, verdict):
    assert judge(mean(region), LOW, LOW).verdict == verdict


def test_the_interval_of_an_error_stays_within_0_and_100(judge):
    v = judge(mean([0, 1]), {0: 0.0, 1: 0.0, 2: 0.3}, LOW)
    assert v.low == 0
    assert v.verdict == "supported"
    assert judge(mean([90, 100]), {0: 99.0, 1: 99.5, 2: 100.0}, LOW).high == 100


def test_one_seed_decides_nothing(judge):
    v = judge(difference([0, INF]), {0: 50.0}, {0: 1.0})
    assert (v.verdict, v.estimate, v.low, v.high) == ("inconclusive", 49, -INF, INF)


def test_seeds_are_paired_whatever_their_order(judge):
    v = judge(difference([0, INF]), {2: 30.0, 0: 10.0, 1: 20.0}, {0: 9.0, 1: 19.0, 2: 29.0})
    assert (v.estimate, v.low, v.high) == (1, 1, 1)


def test_a_missing_run_makes_the_claim_incomplete_and_the_rest_is_still_estimated(judge):
    v = judge(difference([0, INF]), HIGH | {3: 14.0}, LOW | {3: None})
    assert (v.verdict, v.missing, v.n, v.estimate) == ("incomplete", 1, 3, 11)


def test_with_no_run_at_all_there_is_no_estimate(judge):
    v = judge(mean([0, 1]), {0: None, 1: None}, {0: 1.0, 1: 1.0})
    assert (v.verdict, v.missing, v.n) == ("incomplete", 2, 0)
    assert math.isnan(v.estimate)


def test_a_metric_that_was_not_measured_is_missing(judge):
    assert judge(mean([0, 100], "valid_error"), LOW, LOW).missing == 3  # the split is full


def test_a_diverged_run_counts_as_100_and_the_converged_are_given_beside(judge):
    v = judge(difference([0, INF]), HIGH | {3: "diverged"}, LOW | {3: 2.0})
    assert v.estimate == (10 + 11 + 12 + 98) / 4
    assert (v.diverged, v.failed, v.n) == (1, 1, 4)
    assert (v.converged_estimate, v.converged_n) == (11, 3)
    assert v.converged_low == pytest.approx(11 - 4.302653 / 3**0.5)


def test_without_divergence_nothing_is_given_beside(judge):
    v = judge(difference([0, INF]), HIGH, LOW)
    assert v.converged_n == 0
    assert math.isnan(v.converged_estimate)


@pytest.mark.parametrize(
    ("failures", "region", "verdict"),
    [
        (5, [0.4, 1], "supported"),
        (5, [0.5, 1], "inconclusive"),
        (0, [0.6, 1], "refuted"),
        (3, [0.4, 1], "inconclusive"),
    ],
)
def test_a_share_of_seeds_has_the_exact_interval(judge, failures, region, verdict):
    errors = {seed: 50.0 if seed < failures else 5.0 for seed in range(5)}
    v = judge(mean(region, "failed"), errors, dict.fromkeys(range(5), 1.0))
    assert (v.verdict, v.estimate, v.failed) == (verdict, failures / 5, failures)
    if failures == 5:
        assert (v.low, v.high) == (round(0.025**0.2, 6), 1)  # Clopper and Pearson by hand: (α/2)^(1/n)


def test_best_over_takes_each_sides_value_with_the_lowest_validation_error(judge):
    valid = {("plain", 0.1): 40, ("plain", 0.01): 10, ("resnet", 0.1): 5, ("resnet", 0.01): 6}

    def errors(settings):
        chosen_for = valid[settings["model"], settings["lr"]]
        # The test error would choose the other value.
        return {"errors": dict.fromkeys(METRICS, 50.0 - chosen_for) | {"valid_error": chosen_for}}

    of = dict.fromkeys(range(3), errors)
    v = judge(difference([-INF, 0], best_over="lr"), of, of, {"data.split": "45k", "optim.lr": [0.1, 0.01]})
    assert v.chosen == "of: lr 0.01; minus: lr 0.1"
    assert v.estimate == (50 - 10) - (50 - 5)
    assert v.verdict == "supported"


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
