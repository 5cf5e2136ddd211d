"""What a run is: the rules that are the network's own, what gives a run its name, and its row of a table."""

import inspect
import itertools
import re
from dataclasses import asdict, fields, replace

import pytest
import torch

from resnet_repro import families, nets
from resnet_repro.config import CIRCUMSTANCES, ConfigError, Env, Measure, Model, Run, columns, cost, run_id, science
from resnet_repro.nets import activations, blocks, inits, norms, scales, shortcuts
from resnet_repro.settings import compose

LEAVES = [
    (part.name, leaf)
    for part in fields(Run)
    if part.name not in ("seed", *CIRCUMSTANCES)
    for leaf in fields(part.default_factory)
]


def another(leaf, value):
    """A value of the same kind that the field's own rule allows."""
    if "choices" in leaf.metadata:
        return next(choice for choice in leaf.metadata["choices"] if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [*value, 10**6]
    if value is None:
        return 64
    return value + "!" if isinstance(value, str) else value + 1


# The network's own rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["cifar", "dense"])
def test_the_model_settings_are_the_arguments_of_the_network_with_the_same_defaults(family):
    arguments = inspect.signature(nets.NETWORKS[family]).parameters
    given_by_the_data = {"classes", "in_channels", "image_size", "generator"}
    not_its = {"family", "starts_as", *families.FAMILIES[family].without}
    assert {f.name for f in fields(Model)} - not_its == set(arguments) - given_by_the_data
    defaults = {name: p.default for name, p in arguments.items() if p.default is not inspect.Parameter.empty}
    assert {k: v for k, v in asdict(Model()).items() if k in defaults} == {
        k: v for k, v in defaults.items() if k not in given_by_the_data
    }


@pytest.mark.parametrize(
    ("setting", "known"),
    [
        ("norm", norms.NORMS),
        ("init", inits.INITS),
        ("fan", inits.FANS),
        ("scale_on", blocks.SCALE_ON),
        ("branch_scale", scales.BRANCH_SCALES),
        ("block", families.BLOCKS),
        ("order", blocks.ORDERS),
        ("stride_on", blocks.STRIDE_ON),
        ("activation", activations.ACTIVATIONS),
        ("family", nets.NETWORKS),
        ("family", families.FAMILIES),
        ("shortcut", shortcuts.SHORTCUTS),
        ("shortcut_subsample", shortcuts.SUBSAMPLES),
        ("shortcut_pad", shortcuts.PADS),
    ],
)
def test_the_choices_are_those_of_the_network(setting, known):
    (leaf,) = (f for f in fields(Model) if f.name == setting)
    assert set(leaf.metadata["choices"]) == set(known)


@pytest.mark.parametrize("norm", ["group", "group_ws"])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 6, 8, 12, 16, 24])
def test_group_norm_is_refused_exactly_where_the_network_refuses_it(width, norm):
    def accepted(build):
        try:
            build()
        except ValueError:
            return False
        return True

    by_network = accepted(lambda: nets.CifarNet(8, norm=norm, width=width, shortcut="B"))
    assert accepted(lambda: compose([f"model.norm={norm}", f"model.width={width}"])) == by_network


@pytest.mark.parametrize(
    ("family", "block", "depth"),
    [(f, b, d) for f in families.FAMILIES for b in families.BLOCKS for d in (8, 11, 18, 20, 34, 50, 101, 110, 152)],
)
def test_a_depth_is_refused_exactly_where_the_network_refuses_it(family, block, depth):
    settings = [f"model.family={family}", f"model.block={block}", f"model.depth={depth}", "model.width=1"]
    try:
        with torch.device("meta"):
            nets.NETWORKS[family](depth, block=block, width=1)
    except ValueError as refusal:
        with pytest.raises(ConfigError, match=re.escape(str(refusal))):
            compose(settings)
    else:
        assert compose(settings)


# The name of a run ---------------------------------------------------------------------------------------------


def test_the_name_of_the_default_run_never_changes():
    # Results that were committed are found by this name. A change of it orphans them all: raise PROTOCOL instead,
    # and only if an unchanged config would train differently.
    assert run_id(compose([])) == "resnet20-s0-764900fe5f"


def test_the_name_says_model_depth_and_seed():
    assert run_id(compose(["model=plain", "model.depth=56", "seed=3"])).startswith("plain56-s3-")


@pytest.mark.parametrize(
    ("part", "leaf"), [("env", leaf) for leaf in fields(Env)] + [("measure", leaf) for leaf in fields(Measure)]
)
def test_where_and_how_a_run_is_computed_and_what_else_is_measured_is_not_in_its_name(part, leaf):
    run = compose([])
    settings = getattr(run, part)
    changed = replace(run, **{part: replace(settings, **{leaf.name: another(leaf, getattr(settings, leaf.name))})})
    assert changed != run
    assert run_id(changed) == run_id(run)


@pytest.mark.parametrize(("part", "leaf"), LEAVES, ids=[f"{part}.{leaf.name}" for part, leaf in LEAVES])
def test_every_scientific_setting_is_in_the_name(part, leaf):
    run = compose([])
    settings = getattr(run, part)
    changed = replace(run, **{part: replace(settings, **{leaf.name: another(leaf, getattr(settings, leaf.name))})})
    assert run_id(changed) != run_id(run)


def test_the_seed_and_the_protocol_are_in_the_name(monkeypatch):
    run = compose([])
    names = {run_id(run), run_id(replace(run, seed=1))}
    monkeypatch.setattr("resnet_repro.config.PROTOCOL", 10**6)
    assert len(names | {run_id(run)}) == 3


def test_the_name_does_not_depend_on_the_order_of_overrides():
    lines = ["task=cifar10", "model=plain", "model.depth=56", "optim.lr=0.05"]
    assert len({run_id(compose(order)) for order in itertools.permutations(lines)}) == 1


def test_one_number_written_in_two_ways_is_one_run():
    assert run_id(compose(["optim.lr=1e-1"])) == run_id(compose(["optim.lr=0.1"])) == run_id(compose([]))
    assert run_id(compose(["model.shortcut_scale=1"])) == run_id(compose(["model.shortcut_scale=1.0"]))


def test_science_is_all_but_the_environment():
    assert set(science(Run())) == {f.name for f in fields(Run)} - {*CIRCUMSTANCES} | {"protocol"}


# Columns and cost ----------------------------------------------------------------------------------------------


def test_every_scientific_setting_is_one_column():
    names = [leaf.name for _, leaf in LEAVES] + ["seed"]
    assert len(set(names)) == len(names)  # two settings of one name would hide each other
    # Tables and figures show a data set by its title; its kind, `name`, has no column.
    renamed = {"residual": "model", "title": "data"}
    assert set(columns(Run())) == {renamed.get(name, name) for name in names if name != "name"}


def test_columns_are_flat_and_say_what_is_meant():
    row = columns(compose(["task=cifar10", "model=plain", "model.depth=32", "seed=4"]))
    assert all(isinstance(v, str | int | float | None) for v in row.values())
    assert (row["model"], row["depth"], row["data"], row["seed"]) == ("plain", 32, "CIFAR-10", 4)
    assert row["milestones"] == "32000 48000"


def test_cost_orders_runs_by_how_long_they_take():
    shallow, deep = compose([]), compose(["model.depth=110"])
    assert cost(deep) == pytest.approx(110 / 20 * cost(shallow), rel=0.1)
    assert cost(compose(["task=cifar10"])) > cost(deep)
    assert cost(compose(["optim.steps=0"])) > 0


# The images ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["task=digits", "data.images=1501"], "data.images is 1501, and digits has 1500 training images"),
        (["task=digits", "data.split=45k", "data.images=1400"], "has 1350 training images with data.split=45k"),
        (["task=cifar10", "data.images=100"], "optim.batch is 128, and data.images 100: no batch would be full"),
        (["data.label_noise=1.5"], "data.label_noise must be at least 0 and at most 1, got 1.5"),
    ],
)
def test_a_part_of_the_images_that_cannot_be_drawn_or_trained_on_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        compose(settings)


# A warm-up by error --------------------------------------------------------------------------------------------

BY_ERROR = ["optim.warmup=error", "probes.curve_every=400", "probes.eval_every=2000"]


@pytest.mark.parametrize(
    ("settings", "look", "cap"), [([], 400, 400), (["optim.warmup_every=50", "optim.warmup_steps=50"], 50, 50)]
)
def test_a_warm_up_that_ends_before_the_first_look_is_refused(settings, look, cap):
    with pytest.raises(ConfigError, match=rf"first look comes after {look} steps and the warm-up ends after {cap} "):
        compose([*BY_ERROR, *settings])


@pytest.mark.parametrize("settings", [["optim.warmup_every=50"], ["optim.warmup_steps=401", "optim.steps=401"]])
def test_a_warm_up_with_a_look_before_its_end_is_accepted(settings):
    assert compose([*BY_ERROR, *settings]).optim.warmup == "error"


VOID = {
    "optim.warmup=error optim.warmup_every=50 optim.warmup_error=0": "warmup_error=0 would never end the warm-up",
    "optim.warmup=error optim.warmup_every=50 optim.steps=399": "training ends after 399 .optim.steps.; use 399",
    "optim.warmup=steps optim.steps=400": "optim.lr would never be used: the warm-up takes 400 steps",
}


@pytest.mark.parametrize("settings", VOID)
def test_a_warm_up_that_would_do_nothing_or_never_end_is_refused(settings):
    with pytest.raises(ConfigError, match=VOID[settings]):
        compose(["probes.curve_every=400", "probes.eval_every=400", *settings.split()])
    assert compose(["optim.warmup=steps", "optim.steps=0"]).optim.steps == 0


def test_looks_that_do_not_fall_on_curve_points_are_refused():
    with pytest.raises(ConfigError, match=r"warmup_every must divide probes.curve_every \(400\), or be null, got 150"):
        compose([*BY_ERROR, "optim.warmup_every=150"])
