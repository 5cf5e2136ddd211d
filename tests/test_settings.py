"""How settings are written: which are accepted, what the others are told, and what becomes of them."""

import itertools
import re
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from resnet_repro import reference
from resnet_repro.config import ConfigError, model_name, run_id
from resnet_repro.grammar import parse_one
from resnet_repro.project import CONF
from resnet_repro.settings import compose, known_fields, known_keys, resolve

TASKS = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))


def hydra(*overrides):
    """The same run by way of Hydra itself."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return resolve(hydra_compose("config", overrides=list(overrides)))


# What is refused -----------------------------------------------------------------------------------------------

REFUSED = {
    # Overrides, and what the message must name: the value, the rule, the remedy.
    "model.depth=21": ["21", "6n + 2", "20, 32, 44, 56, 110"],
    "model.depth=2": ["2", "at least 8"],
    "model.width=0": ["0", "model.width", "at least 1"],
    "model.shortcut=D": ["'D'", "A, B, C"],
    "model.norm=bach": [
        "'bach'",
        "batch, layer, instance, group, group_ws, none, batch_noisy, none_noisy",
        "did you mean 'batch'",
    ],
    "model.norm=group model.width=6": ["6", "multiple of 8"],
    "model.norm=group model.width=12": ["12", "multiple of 8"],
    "model.norm=group_ws model.width=12": ["model.norm=group_ws", "12", "multiple of 8"],
    "model.norm=group_ws model.width=1": ["one weight", "at least 2", "got 1"],
    "model.norm=instance model.family=imagenet model.depth=18": [
        "one pixel",
        "8 x 8",
        "model.norm=group",
        "more than 32",
    ],
    "model=plain model.shortcut=B": ["model.shortcut", "plain net", "model=resnet", "leave it out"],
    "model=plain model.shortcut_scale=0.5": ["model.shortcut_scale", "plain net", "model=resnet"],
    "model.shortcut=B model.shortcut_pad=split": ["model.shortcut_pad", "A only", "shortcut B"],
    "model.ghost_batch=1": ["1", "at least 2"],
    "model.norm=batch_noisy env.devices=2": ["model.norm=batch_noisy", "env.devices must be 1", "got 2"],
    "model.norm=batch_noisy model.starts_as=8": ["no block is an identity", "use model.norm=batch"],
    "model.norm=none_noisy model.zero_init_residual=true": ["a norm without noise", "none_noisy"],
    "model=densenet model.depth=56": ["3n + 4", "40", "got 56"],
    "model=densenet model.shortcut_scale=0.5": ["model.shortcut_scale=0.5", "model.family=dense", "leave it out"],
    "model=densenet model.long_skips=true": ["model.long_skips=True", "model.family=dense", "leave it out"],
    "model=densenet measure.probes=[gradients,lesions]": ["lesions", "model=plain or model=resnet"],
    "model=densenet model.norm=group": ["model.growth", "multiples of 8", "8 and 12"],
    "model.growth=4": ["model.growth=4", "model.family=cifar", "leave it out"],
    "model.long_skips=true measure.probes=[paths]": ["paths", "model.long_skips=true"],
    "model.ghost_batch=64 model.norm=group": ["64", "model.norm=batch", "model.ghost_batch=null"],
    "model.ghost_batch=48": ["48", "divide", "128"],
    "model.shortcut_scale=nan": ["nan", "finite"],
    "model.shortcut_scale=inf": ["inf", "finite"],
    "data.title='  '": ["data.title", "empty", "name the data set"],
    "data.crop_padding=33": ["33", "at most 32"],
    "optim.lr=-0.1": ["-0.1", "optim.lr", "at least 0"],
    "optim.lr=inf": ["inf", "optim.lr", "finite"],
    "optim.momentum=1.5": ["1.5", "at most 1"],
    "optim.batch=0": ["0", "at least 1"],
    "optim.steps=-1": ["-1", "at least 0"],
    "optim.milestones=[300,200]": ["[300, 200]", "rising"],
    "optim.milestones=[200,200]": ["[200, 200]", "rising"],
    "optim.milestones=[0,200]": ["[0, 200]", "positive"],
    "optim.nesterov=true optim.momentum=0": ["optim.nesterov", "optim.momentum > 0"],
    "optim.clip=0": ["optim.clip", "0", "null"],
    "optim.warmup_error=101": ["101", "at most 100"],
    "probes.curve_every=0": ["0", "at least 1"],
    "probes.eval_every=30": ["30", "multiple", "20"],
    "seed=-1": ["-1", "at least 0"],
    "seed=4294967296": ["4294967296", "at most 4294967295"],
    "env.threads=0": ["env.threads", "0", "at least 1"],
    "env.wandb=onlin": ["'onlin'", "offline, online, disabled", "did you mean 'online'"],
    # Types.
    "model.depth=deep": ["model.depth", "an integer", "'deep'"],
    "model.depth=20.0": ["model.depth", "an integer", "20.0"],
    "model.depth=null": ["model.depth", "an integer", "None"],
    "seed=true": ["seed", "an integer", "True"],
    "optim.lr=fast": ["optim.lr", "a number", "'fast'"],
    "optim.lr=true": ["optim.lr", "a number", "True"],
    "optim.clip=none": ["optim.clip", "a number or null", "'none'"],
    "model.residual=maybe": ["model.residual", "true or false", "'maybe'"],
    "optim.milestones=[[1]]": ["optim.milestones", "an integer", "[1]"],
    "optim.milestones=${optim.batch}": ["optim.milestones", "a list of integers", "128"],
    "model.depth@x=20": ["model.depth@x=20", "no package", "model.depth=..."],
    "optim.lr=" + "[" * 10_000: ["is too long", "10000 characters"],
    "optim.lr=" + "[" * 1_000: ["cannot be read"],
    "seed=" + "9" * 5_000: ["cannot be read"],
    "optim.lr=" + "9" * 400: ["optim.lr must be a number"],
    "x" * 5_000 + "=1": ["unknown setting"],
    "optim.milestones=100": ["optim.milestones", "a list of integers", "100"],
    "optim.milestones=[1.5]": ["optim.milestones", "a list of integers", "1.5"],
    "data.title=null": ["data.title", "text", "None"],
    # Keys.
    "model.dpeth=20": ["model.dpeth", "did you mean 'model.depth'"],
    "modle=plain": ["modle", "did you mean 'model'"],
    "optim={lr: 0.2}": ["unknown setting 'optim'", "--cfg job"],
    "something.else=1": ["something.else", "--cfg job"],
    "model=resnext": ["'resnext'", "densenet, plain, resnet"],
    "task=mnist": ["'mnist'", "cifar10"],
    "model=null": ["model", "plain, resnet", "None"],
    "model@data=plain": ["model@data=plain", "model=..."],
    # Grammar.
    "+foo=1": ["+foo=1", "cannot be added", "key=value"],
    "+model.depth=20": ["cannot be added"],
    "++foo=1": ["unknown setting 'foo'"],
    "~model": ["~model", "removed"],
    "~optim.lr": ["~optim.lr", "removed"],
    "depth": ["'depth'", "key=value"],
    "optim.milestones=[1": ["cannot be read", "key=value"],
    "seed=0,1": ["seed=0,1", "-m"],
    "model=plain,resnet": ["model=plain,resnet", "-m"],
    "seed=range(3)": ["seed=range(3)", "-m"],
    "optim.lr=${nowhere}": ["nowhere", "optim.lr"],
    "optim.lr=???": ["missing", "lr"],
}


@pytest.mark.parametrize("line", REFUSED, ids=lambda line: line[:40])
def test_a_bad_setting_is_refused_with_value_rule_and_remedy(line):
    with pytest.raises(ConfigError) as caught:
        compose(re.split(r" (?=\w+\.\w+=)", line))
    assert [word for word in REFUSED[line] if word not in str(caught.value)] == [], str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_config_error_is_a_value_error():
    assert issubclass(ConfigError, ValueError)


@pytest.mark.parametrize("key", [key for key in known_keys() if "." in key])
def test_a_key_without_its_part_is_told_the_whole_key(key):
    with pytest.raises(ConfigError, match=f"did you mean '{key}'"):
        compose([f"{key.split('.')[1]}=1"])


def test_additions_are_refused_on_the_way_through_hydra_too():
    with pytest.raises(ConfigError, match="foo"):
        hydra("+foo=1")
    with pytest.raises(ConfigError, match=r"optim\.foo"):
        hydra("+optim.foo=1")
    with pytest.raises(ConfigError, match="21"):
        hydra("model.depth=21")
    with pytest.raises(ConfigError, match=r"full_key: optim\.lr"):
        resolve(OmegaConf.create({"optim": {"lr": "fast"}}))


@pytest.mark.parametrize("line", ["model.ghost_batch=64", "optim.clip=1", "model.shortcut_scale=-0.5", "optim.steps=0"])
def test_unusual_but_sensible_settings_are_accepted(line):
    compose([line])


# What a setting becomes ----------------------------------------------------------------------------------------


def test_values_have_the_types_of_the_schema():
    run = compose(["optim.lr=1", "model.shortcut_scale=0", "optim.milestones=[100]", "optim.clip=2", "data.title=1"])
    assert (run.optim.lr, run.model.shortcut_scale, run.optim.clip) == (1.0, 0.0, 2.0)
    assert [type(v) for v in (run.optim.lr, run.model.shortcut_scale, run.optim.clip)] == [float] * 3
    assert run.optim.milestones == [100]
    assert type(run.optim.milestones) is list
    assert run.data.title == "1"
    assert (run.model.ghost_batch, compose(["model.ghost_batch=32"]).model.ghost_batch) == (None, 32)


def test_the_last_of_two_values_counts_as_in_hydra():
    lines = ["model=plain", "model.depth=20", "model=resnet", "model.depth=56"]
    assert compose(lines) == hydra(*lines)
    assert compose(lines).model.depth == 56


SAMPLE = [
    [],
    ["task=cifar10"],
    ["task=cifar100", "model=plain", "model.depth=110"],
    ["model.depth=56", "task=folder", "data.title='my own, (photos)'"],
    ["model=plain", "seed=7", "task=digits", "optim.lr=0.05"],
    ["optim.lr=0.05", "task=cifar10"],  # a value wins over the group, wherever it stands
    ["model.ghost_batch=64", "optim.clip=null", "optim.clip=0.5"],
    ["optim.milestones=[]", "optim.warmup_steps=${optim.steps}"],
    ["model.residual=no", "env.runs_dir=/tmp/x", "hydra.verbose=true"],
    ["model.norm=none", "model.init=lecun", "model.fan=fan_in", "optim.nesterov=true"],
    ["trainer=csv", "trainer.logger={_target_: a.B}"],
    ["trainer.logger={_target_: a.B}"],
]


@pytest.mark.parametrize("overrides", SAMPLE, ids=" ".join)
def test_compose_gives_what_hydra_gives(overrides):
    ours, theirs = compose(overrides), hydra(*overrides)
    assert ours == theirs
    assert run_id(ours) == run_id(theirs)


def other_values(field):
    """Two values of a setting that are not its default, as its field in config.py allows."""
    if field.type == list[str]:
        return "[]", f"[{','.join(field.metadata.get('choices', ['a', 'b']))}]"
    if "choices" in field.metadata:
        return field.metadata["choices"][-2:]
    if field.type is bool:
        return "true", "false"
    if field.type in (str, str | None):
        return "some-words", "'two words, (7)'"
    if field.type == list[int]:
        return "[]", "[3,50,700]"
    if field.type in (Any, list[Any]):
        return "[]", "[{_target_: a.B, x: [1, {y: null}]}]"
    low, high = (max(min(field.metadata[end], 64), -64) for end in ("low", "high"))
    return f"{high}", f"{low + 0.25 if 'float' in str(field.type) else low + 1}"


COHERENT = {  # what else has to be set so that a value makes sense
    "model.depth": ["model.depth=26"],
    "optim.batch": ["optim.batch=64"],
    "probes.curve_every": ["probes.eval_every=0"],
    "probes.eval_every": ["probes.curve_every=1"],
    "model.shortcut_subsample": ["model.shortcut=A"],
    "model.shortcut_pad": ["model.shortcut=A"],
    "model.ghost_batch": ["model.ghost_batch=32"],
    "model.family": ["model.family=imagenet", "model.depth=18"],
    "model.family=dense": ["model.depth=40"],
    "model.growth": ["model=densenet"],
    "model.block": ["model.depth=20"],
    "model.stride_on": ["model.block=bottleneck"],
    "model.starts_as": ["model.starts_as=8"],
    "data.teacher": ["data.teacher=20"],
    "model.init=fixup": ["model.norm=none"],
    "data.crop=resized": ["task=imagenet"],
    "data.size": ["task=folder"],
    "data.resize": ["task=imagenet", "data.size=8"],
    "data.stream": ["task=folder"],
    "data.images": ["optim.batch=2"],
    "optim.warmup": ["optim.warmup_steps=100"],
    "optim.warmup_every": ["optim.warmup_every=10"],
    "measure.every": ["probes.curve_every=1"],
    "env.engine": ["env.device=cuda"],
    "env.devices": ["env.devices=64"],
    "trainer.num_nodes": ["env.devices=64", "trainer.num_nodes=2"],
}


@pytest.mark.parametrize("key", known_fields())
def test_every_setting_is_composed_as_hydra_composes_it(key):
    for value in other_values(known_fields()[key]):
        overrides = [f"{key}={value}", *COHERENT.get(f"{key}={value}", COHERENT.get(key, []))]
        ours, theirs = compose(overrides), hydra(*overrides)
        assert ours == theirs
        assert repr(ours) == repr(theirs)  # 1 and 1.0 are equal, and have other names
        assert run_id(ours) == run_id(theirs)


@pytest.mark.parametrize("text", ["seed=0", "seed=-7", "model=3", "optim.lr=12", "a_b.c_d.e=999999999999999999"])
def test_an_integer_is_read_as_hydra_reads_it(text):
    (theirs,) = OverridesParser.create().parse_overrides([text])
    assert parse_one(text) == theirs


@pytest.mark.parametrize("text", ["seed=007", "seed=+1", "seed=1_000", "seed=-0", "seed=1e3", "seed=0,1"])
def test_whatever_is_no_plain_integer_is_left_to_hydra(text):
    (theirs,) = OverridesParser.create().parse_overrides([text])
    assert parse_one(text).value() == theirs.value()


def test_a_composed_run_can_be_changed_without_changing_the_next():
    run = compose(["optim.milestones=[1,2]"])
    for changed in run, compose([]):
        changed.optim.milestones.append(7)
        changed.model.depth = 8
    assert compose(["optim.milestones=[1,2]"]) == hydra("optim.milestones=[1,2]")
    assert compose([]) == hydra()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model", ["plain", "resnet"])
def test_every_task_composes(task, model):
    run = compose([f"task={task}", f"model={model}"])
    assert run.data.name == ("folder" if task.endswith(("imagenet", "cifar-short")) else task)
    assert model_name(run) == model


def test_the_schedule_of_cifar_10_is_that_of_the_paper():
    # He et al. 2015, sec. 4.2.
    run = compose(["task=cifar10"])
    assert (run.optim.lr, run.optim.momentum, run.optim.weight_decay, run.optim.batch) == (0.1, 0.9, 0.0001, 128)
    assert (run.optim.steps, run.optim.milestones, run.optim.gamma) == (64000, [32000, 48000], 0.1)
    assert (run.model.width, run.model.shortcut, run.data.crop_padding, run.data.flip) == (16, "A", 4, True)


def test_composing_does_not_touch_an_application_that_runs():
    code = """
from hydra.core.global_hydra import GlobalHydra
from resnet_repro.settings import compose
marker = GlobalHydra.instance().hydra = object()
compose(["seed=1"])
assert GlobalHydra.instance().hydra is marker
import sys
assert "torch" not in sys.modules and "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_hydra_reads_every_sample_as_written():
    # The samples above mean what they say only if Hydra's own grammar takes them.
    for line in itertools.chain.from_iterable(SAMPLE):
        (override,) = OverridesParser.create().parse_overrides([line])
        assert override.key_or_group == line.split("=")[0]


# What each setting means -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", known_keys())
def test_every_setting_has_a_meaning_and_says_what_it_may_be(key):
    assert reference.meaning(key)
    assert reference.allowed(key)


def test_the_commented_settings_are_yaml_that_gives_the_run_back():
    run = compose(["task=cifar10", "model=plain", "model.ghost_batch=64", "data.title=my images", "seed=3"])
    assert yaml.safe_load(reference.commented(run)) == asdict(run)


def test_choices_and_ranges_are_those_that_are_checked():
    assert reference.allowed("model.norm") == "batch, layer, instance, group, group_ws, none, batch_noisy, none_noisy"
    assert reference.allowed("model.depth") == "at least 8"
    assert reference.allowed("optim.gamma") == "0 to 1"
    assert reference.allowed("optim.clip") == "at least 0 or null"
    assert reference.allowed("data.flip") == "true or false"


def test_the_table_of_settings_fits_80_columns_and_shows_what_the_overrides_make(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    reference.show(["--help", "model.depth=56"])
    shown = capsys.readouterr().out.split("\n\nsetting")[1]
    assert max(map(len, shown.splitlines())) <= 80
    assert re.search(r"^model\.depth +56 +weighted layers, 6n \+ 2;", shown, re.M)


@pytest.mark.parametrize("words", [["--help"], ["seed=1", "-h"], ["--cfg", "job", "seed=1"], ["--cfg=job"]])
def test_asking_for_the_settings_is_noticed(words):
    assert reference.asked_for(words)


@pytest.mark.parametrize("words", [["seed=1"], ["--cfg", "hydra"], ["--hydra-help"], ["-m", "--cfg", "job"]])
def test_what_hydra_shows_is_left_to_it(words):
    assert not reference.asked_for(words)
