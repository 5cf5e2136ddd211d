"""From an experiment to its runs: the grid, overrides on top of it, and what a selection means."""

import csv
import itertools
from dataclasses import replace

import pytest
import yaml

from resnet_repro import report
from resnet_repro.config import ConfigError, columns, cost
from resnet_repro.experiment import load, read
from resnet_repro.grammar import product
from resnet_repro.planning import expand, in_order, plan, selects
from resnet_repro.settings import compose

GRID = {"task": "digits", "model": ["plain", "resnet"], "model.depth": [20, 56], "seed": [0, 1, 2]}


@pytest.fixture
def written(tmp_path):
    """written(grid=...): an experiment file of no claims, sound but for what is given."""

    def write(**changes):
        content = {"question": "Why?", "source": "nobody", "grid": [GRID], "claims": [], "figures": []}
        path = tmp_path / "made-up.yaml"
        path.write_text(yaml.safe_dump(content | changes))
        return path

    return write


def names(planned):
    return [p.id for p in planned]


# Planning ------------------------------------------------------------------------------------------------------


def test_a_plan_is_the_product_in_the_order_of_the_grid(written):
    rows = [columns(p.run) for p in plan(read(written()))]
    expected = list(itertools.product(["plain", "resnet"], [20, 56], [0, 1, 2]))
    assert [(r["model"], r["depth"], r["seed"]) for r in rows] == expected


def test_blocks_are_united_and_a_repeated_run_is_planned_once(written):
    again = {"task": "digits", "model": "plain", "model.depth": [56, 110], "seed": [0, 1, 2]}
    planned = plan(read(written(grid=[GRID, again])))
    assert len(planned) == len(set(names(planned))) == 12 + 6 - 3


def test_one_run_written_in_two_ways_is_planned_once():
    assert len(expand([[["optim.lr=0.1"], ["optim.lr=1e-1"]], [["optim.lr=0.10", "model=resnet"]]])) == 1


@pytest.mark.parametrize(
    ("values", "planned"), [([[100, 200], [300], []], [[100, 200], [300], []]), ([100, 200], [[100, 200]])]
)
def test_a_list_of_a_setting_that_is_a_list_is_one_value(written, values, planned):
    made = plan(read(written(grid=[{"task": "digits", "optim.milestones": values}])))
    assert [p.run.optim.milestones for p in made] == planned


@pytest.mark.parametrize(
    "title",
    [
        "plain",
        "two words",
        "a,b",
        "a=b",
        "(x)",
        "[x]",
        "{x}",
        '"quoted"',
        "it's",
        "100 %",
        "a\\b",
        "end\\",
        "λ = ½",
        "#1",
    ],
)
def test_any_text_survives_the_way_through_the_override_grammar(written, title):
    (planned,) = plan(read(written(grid=[{"data.title": title}])))
    assert planned.run.data.title == title
    assert compose(planned.overrides).data.title == title


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("model.ghost_batch", None, None), ("data.flip", True, True), ("optim.lr", 1e-05, 1e-05), ("optim.clip", 2, 2.0)],
)
def test_values_of_yaml_keep_their_type(written, key, value, expected):
    (planned,) = plan(read(written(grid=[{key: value}])))
    part, name = key.split(".")
    assert getattr(getattr(planned.run, part), name) == expected
    assert type(getattr(getattr(planned.run, part), name)) is type(expected)


def test_a_thousand_runs_can_be_planned(written):
    grid = [
        {"task": "digits", "model": ["plain", "resnet"], "model.depth": [20, 32, 44, 56, 110], "seed": [*range(100)]}
    ]
    planned = plan(read(written(grid=grid)))
    assert len(set(names(planned))) == len(planned) == 1000


# Overrides on top ----------------------------------------------------------------------------------------------


def test_an_override_of_a_key_of_the_grid_replaces_its_values(written):
    spec = read(written())
    planned = plan(spec, ["model.depth=8"])
    assert len(planned) == 2 * 3
    assert {p.run.model.depth for p in planned} == {8}
    assert {sum(o.startswith("model.depth=") for o in p.overrides) for p in planned} == {1}
    assert {p.run.data.title for p in plan(spec, ["task=cifar10"])} == {"CIFAR-10"}


def test_an_override_of_another_key_applies_to_every_run(written):
    planned = plan(read(written()), ["optim.lr=0.05"])
    assert len(planned) == 12
    assert {p.run.optim.lr for p in planned} == {0.05}


def test_an_override_with_several_values_multiplies_the_grid(written):
    spec = read(written())
    assert len(plan(spec, ["optim.lr=0.1,0.05"])) == 24
    planned = plan(spec, ["seed=range(10)"])
    assert {p.run.seed for p in planned} == set(range(10))
    assert len(planned) == 40


def test_overrides_of_hydra_itself_change_no_run(written):
    spec = read(written())
    assert names(plan(spec, ["hydra/launcher=basic", "hydra.verbose=true"])) == names(plan(spec))


def test_the_group_is_the_experiment_unless_one_is_named(written):
    spec = read(written())
    assert {p.run.env.group for p in plan(spec)} == {"made-up"}
    assert {p.run.env.group for p in plan(spec, ["env.group=mine"])} == {"mine"}


@pytest.mark.parametrize("overrides", [["model.dpeth=20"], ["model.depth=21"], ["+x=1"], ["seed=0,-1"], ["task=mnist"]])
def test_a_bad_override_is_refused_before_anything_runs(written, overrides):
    with pytest.raises(ConfigError):
        plan(read(written()), overrides)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["seed=0,1", "model.depth=20"], [["seed=0", "model.depth=20"], ["seed=1", "model.depth=20"]]),
        (["seed=choice(3,1)"], [["seed=3"], ["seed=1"]]),
        (["seed=range(2,5)"], [["seed=2"], ["seed=3"], ["seed=4"]]),
        (["seed=range(0,10,5)"], [["seed=0"], ["seed=5"]]),
        (["seed=sort(2,1,reverse=true)"], [["seed=2"], ["seed=1"]]),
        (["optim.milestones=[1,2],[3]"], [["optim.milestones=[1,2]"], ["optim.milestones=[3]"]]),
        (['data.title="a,b",c'], [['data.title="a,b"'], ["data.title=c"]]),
        (["model=plain,resnet", "hydra.verbose=true"], [["model=plain"], ["model=resnet"]]),
        ([], [[]]),
    ],
)
def test_the_sweep_grammar_of_hydra_is_understood(overrides, expected):
    assert product(overrides) == expected


@pytest.mark.parametrize("override", ["model=glob(*)", "optim.lr=interval(0,1)"])
def test_a_sweep_without_definite_values_is_refused(override):
    with pytest.raises(ConfigError, match="write out the values, as in seed=0,1,2"):
        product([override])


@pytest.mark.parametrize(
    "override",
    ["seed=range(1000000)", "seed=range(0,1e30)", "seed=shuffle(range(0,10000000000))", "optim.lr=range(0,1,1e-9)"],
)
def test_a_sweep_of_too_many_runs_is_refused_before_it_is_written_out(override):
    with pytest.raises(ConfigError, match="runs in one sweep; at most 100,000: name fewer values"):
        product([override])


def test_a_grid_of_a_million_cells_is_refused_before_it_is_written_out(written):
    block = {"seed": list(range(1000)), "optim.lr": [k / 1000 for k in range(1000)], "task": "digits"}
    with pytest.raises(ConfigError, match="1,000,000 runs in one sweep; at most 100,000"):
        plan(read(written(grid=[block])))
    with pytest.raises(ConfigError, match="360,000 runs in one sweep; at most 100,000"):
        plan(read(written()), ["optim.momentum=choice(0.1,0.2,0.3)", "optim.steps=range(10000)"])


@pytest.mark.parametrize("override", ["seed=range(0)", "seed=range(5,1)"])
def test_a_sweep_over_nothing_is_refused(override):
    with pytest.raises(ConfigError, match="names no value"):
        product([override])


@pytest.mark.parametrize("override", ["seed=range(0,9,0)", "optim.lr=range(0,nan)"])
def test_a_range_that_never_ends_is_refused(override):
    with pytest.raises(ConfigError, match=r"in one sweep|write out the values"):
        product([override])


# Selecting -----------------------------------------------------------------------------------------------------


def test_selecting_compares_each_column_with_a_value_or_a_list_of_values():
    row = {"model": "plain", "depth": 56, "shortcut_scale": 1.0}
    assert selects({}, row)
    assert selects({"model": "plain", "depth": [20, 56]}, row)
    assert selects({"shortcut_scale": 1}, row)
    assert not selects({"model": "plain", "depth": [20, 32]}, row)
    assert not selects({"depth": "56"}, row)


# The order of training -----------------------------------------------------------------------------------------


def test_runs_are_trained_seed_by_seed_and_the_longest_of_a_seed_first():
    planned = plan(load("degradation-digits"), ["seed=3,1"])
    ordered = [(p.run.seed, p.run.model.depth) for p in in_order(planned)]
    assert ordered == [(seed, depth) for seed in (3, 1) for depth in (56, 32, 20) for _ in range(2)]


def last_end(seconds, slots):
    ends = [0.0] * slots
    for one in seconds:
        ends[ends.index(min(ends))] += one
    return max(ends)


@pytest.mark.parametrize("name", ["degradation-digits", "batchnorm-digits", "shortcut-scale-digits"])
def test_seed_by_seed_costs_less_than_two_percent_of_the_time_that_was_measured_on_two_cores(name):
    with open(report.RESULTS / name / "data" / "runs.csv", newline="") as file:
        seconds = {row["run_id"]: float(row["seconds"]) for row in csv.DictReader(file)}
    planned = plan(load(name))
    ours = last_end([seconds[p.id] for p in in_order(planned)], slots=2)
    longest_first = last_end([seconds[p.id] for p in sorted(planned, key=lambda p: -cost(p.run))], slots=2)
    assert ours < 1.02 * longest_first
    first = [p.run.seed for p in in_order(planned)].count(0)
    assert last_end([seconds[p.id] for p in in_order(planned)[:first]], slots=2) < 0.25 * ours


def test_two_folders_of_images_with_one_title_are_refused_before_anything_is_trained():
    cells = [["task=folder", "data.title=mine", f"env.data_dir=/{where}", "model.depth=8"] for where in "ab"]
    with pytest.raises(ConfigError, match=r"/a and /b are two data sets with the one data.title='mine'"):
        expand([cells])
    assert len(expand([[[*cells[0], "data.title=one"], [*cells[1], "data.title=two"]]])) == 2


def test_what_an_experiment_measures_and_keeps_is_asked_of_every_run_and_names_none_anew():
    tiny = load("tiny")
    asked = replace(tiny, probes=["gradients"], probe_every=20, keep="net")
    runs = plan(asked)
    assert [p.id for p in runs] == [p.id for p in plan(tiny)]
    assert {str(p.run.measure) for p in runs} == {"Measure(probes=['gradients'], every=20, keep='net')"}
    assert [p.run.measure.keep for p in plan(asked, ["measure.keep=none"])] == ["none"] * len(runs)
    assert not any("measure" in text for p in plan(tiny) for text in p.overrides)
    with pytest.raises(ConfigError, match=r"probes must be one of .*gradients, .*got 'gradient'"):
        plan(replace(asked, probes=["gradient"]))
    with pytest.raises(ConfigError, match=r"every must be a multiple of probes\.curve_every \(\d+\), got 33"):
        plan(replace(asked, probe_every=33))
