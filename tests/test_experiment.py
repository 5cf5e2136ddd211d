"""What an experiment is: the files there are, the plans they give, and what is said of a file with a mistake."""

import itertools
import math

import pytest
import yaml

from resnet_repro.config import ConfigError, columns, run_id
from resnet_repro.experiment import ids, load, read
from resnet_repro.planning import plan
from resnet_repro.settings import compose

GRID = {"task": "digits", "model": ["plain", "resnet"], "model.depth": [20, 56], "seed": [0, 1, 2, 3, 4]}
CLAIM = {
    "id": "deeper-is-worse",
    "says": "A deeper plain net is worse.",
    "metric": "train_error_clean",
    "of": {"model": "plain", "depth": 56},
    "minus": {"model": "plain", "depth": 20},
    "region": [0, math.inf],
}
FIGURE = {"name": "curves", "draw": "learning_curves", "y": ["test_error"], "panel": "model", "hue": "depth"}


@pytest.fixture
def written(tmp_path):
    """written(grid=..., claims=..., ...): an experiment file, sound but for what is given."""

    def write(**changes):
        content = {"question": "Why?", "source": "nobody", "grid": [GRID], "claims": [CLAIM], "figures": [FIGURE]}
        content |= changes
        path = tmp_path / "made-up.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v != "leave out"}))
        return path

    return write


@pytest.fixture
def derived(written, tmp_path):
    """derived(base=..., set=..., ...): a file on top of the made-up experiment."""
    written()

    def write(**content):
        path = tmp_path / "derived.yaml"
        path.write_text(yaml.safe_dump({"base": "made-up", "set": {"data.title": "mine"}} | content))
        return path

    return write


def names(planned):
    return [p.id for p in planned]


# The committed files -------------------------------------------------------------------------------------------

# Products counted by hand.
COUNTS = {
    "tiny": 2 * 2 * 2,
    "degradation-digits": 2 * 3 * 8,
    "deep-digits": 2 * 2 * 8,
    "equal-digits": (2 + 2 + 1 + 1) * 20,
    "rate-digits": 2 * 4 * 8,
    "one-layer-block-digits": (2 + 2 + 4 + 1) * 8,
    "not-overfitting-digits": 2 * 2 * (2 + 1) * 8,
    "normalization-digits": (2 * 2 + 2 * 4 + 3 + 3 + 3 + 4 + 1 + 1 + 2) * 8,
    "normalization-batch-digits": (2 * 4 + 1 + 1) * 8,
    "first-step-digits": (2 * 2 + 1) * 20,
    "similar-gradients-digits": (2 * 2 + 2 * 2 + 2) * 20,
    "fixup-digits": (2 * 3 + 2 * 5 + 4 + 1 + 1) * 6,
    "fixup-cifar-short": 3 * 2 * 6,
    "large-batch-digits": 2 * 12 + 2 * 2 * 8,
    "noisy-batchnorm-digits": (2 * 2 + 2 + 2) * 8,
    "steps-digits": (2 + 2 + 1) * 8,
    "gradients-digits": (2 * 3 + 2 + 2 * 3 * 4 + 2 * 2 * 3) * 20,
    "gradients-training-digits": (2 + 2 * 2) * 8,
    "shortcut-gradients-digits": (6 * 2 + 6) * 20,
    "identity-digits": (2 + 1 + 2 + 1) * 8,
    "landscape-digits": 2 * 2 * 8,
    "covariate-shift-digits": 2 * 2 * 8,
    "function-classes-digits": 2 * 2 * 8,
    "responses-digits": (2 * 2 + 1 + 2) * 8,
    "shattered-gradients-digits": (2 * 4 + 2 * 4 + 3 + 2) * 20,
    "spectrum-digits": (2 * 4 + 2 * 4) * 20,
    "unravelled-digits": (2 + 1) * 8,
    "surfaces-digits": 2 * 2 * 8,
    "without-norm-digits": (2 + 2 + 3) * 12 + 2 * 8,
    "degradation": 2 * 4 * 8 + 2 * 1 * 8,
    "batchnorm": (2 * 5 + 5 + 1 + 2 * 5 + 5 + 1 + 4) * 8,
    "batchnorm-digits": (2 * 4 + 4 + 1 + 2 * 4 + 4 + 1 + 4 + 2) * 8,
    "degradation-cifar-small": 2 * 3 * 6,
    "degradation-cifar-short": 2 * 3 * 6,
    "rate-cifar-short": 2 * 4 * 6,
    "not-overfitting-cifar-short": 2 * 2 * 2 * 6,
    "one-layer-block-cifar-short": (2 + 1 + 2 + 1) * 6,
    "shortcut-options-cifar-short": (2 * 3 + 1 + 1) * 6,
    "batchnorm-cifar-short": (2 + 1 + 2 + 1) * 6,
    "normalization-cifar-short": (2 + 2 + 1 + 1) * 6,
    "normalization-batch-cifar-short": 2 * 3 * 6,
    "noisy-batchnorm-cifar-short": (2 * 2 + 2) * 6,
    "preactivation-cifar-short": (4 + 2) * 6,
    "shortcut-scale-cifar-short": 6 * 6,
    "zero-init-residual-cifar-short": 2 * 2 * 6,
    "feature-reuse-cifar-short": (2 + 2 + 1 + 1) * 6,
    "initialization-cifar-short": 4 * 6,
    "steps-cifar-short": (2 + 2 + 1) * 6,
    "without-norm-cifar-short": (1 + 1 + 2) * 6,
    "batchnorm-statistics-cifar-short": (2 + 1) * 6,
    "degradation-jpeg": 2 * 4 * 8 + 2 * 1 * 8,
    "batchnorm-jpeg": (2 * 5 + 5 + 1 + 2 * 5 + 5 + 1 + 4) * 8,
    "shortcut-scale-jpeg": 3 * 10 * 8 + 8,
    "shortcut-scale": 3 * 10 * 8 + 8,
    "shortcut-options-digits": (2 * 3 + 1 + 1) * 8,
    "initialization-digits": (5 + 2 + 2 + 4) * 8,
    "zero-init-residual-digits": 2 * 2 * 8,
    "batchnorm-statistics-digits": (2 * 2 + 1) * 8,
    "preactivation-digits": (5 + 2 + 2) * 8,
    "identity-fit-digits": 2 * 2 * 20,
    "feature-reuse-digits": (1 + 2 + 4 + 1) * 8,
    "preactivation": (5 + 2 * 2) * 8,
    "shortcut-scale-digits": 2 * 9 * 8 + 8 + 6 * 8,
}


@pytest.mark.parametrize("name", ids())
def test_every_committed_experiment_is_sound(name):
    planned = plan(load(name))
    assert len(set(names(planned))) == len(planned)
    assert {p.run.env.group for p in planned} == {name}
    for p in planned:
        assert p.id == run_id(p.run) == run_id(compose(p.overrides))


@pytest.mark.parametrize("name", COUNTS)
def test_a_committed_experiment_has_as_many_runs_as_its_grid_says(name):
    assert len(plan(load(name))) == COUNTS[name]


def test_the_grid_of_degradation_is_the_one_of_the_paper():
    rows = [columns(p.run) for p in plan(load("degradation"))]
    cells = {(r["model"], r["depth"], r["seed"]) for r in rows}
    assert cells == set(itertools.product(["plain", "resnet"], [20, 32, 44, 56, 110], range(8)))
    assert {r["warmup"] for r in rows if r["depth"] == 110} == {"error"}
    assert {r["warmup"] for r in rows if r["depth"] < 110} == {"none"}


def test_an_unknown_experiment_is_refused_with_those_there_are():
    with pytest.raises(
        ConfigError, match=r"no experiment 'degradatoin' \(did you mean 'degradation'\?\).*degradation-digits"
    ):
        load("degradatoin")


# Files with a mistake ------------------------------------------------------------------------------------------


def claim(**changes):
    return {"claims": [CLAIM | changes]}


def figure(**changes):
    return {"figures": [FIGURE | changes]}


MISTAKES = [
    ({"question": "leave out"}, ["missing keys ['question']"]),
    ({"claims": "leave out"}, ["missing keys ['claims']"]),
    ({"clams": []}, ["unknown keys ['clams']", "claims"]),
    ({"grid": []}, ["grid must be a list", "[]"]),
    ({"grid": {"seed": [0]}}, ["grid must be a list", "{'seed': [0]}"]),
    ({"grid": ["seed"]}, ["each of grid must be a mapping", "'seed'"]),
    ({"grid": [{"seed": []}]}, ["no value for 'seed'"]),
    ({"grid": [{"model.dpeth": [20]}]}, ["model.dpeth", "model.depth"]),
    ({"grid": [{"model.depth": [20, 21]}]}, ["21", "6n + 2"]),
    ({"claims": ["deeper is worse"]}, ["claims", "mapping", "deeper is worse"]),
    (claim(metrics="x"), ["claim 1", "unknown keys ['metrics']"]),
    ({"claims": [CLAIM, CLAIM]}, ["claim 'deeper-is-worse' stands twice"]),
    (claim(metric="accuracy"), ["'accuracy'", "train_error_clean", "failed"]),
    (claim(metric=["test_error"]), ["metric must be text", "['test_error']"]),
    (claim(region=[1, 0]), ["[1, 0]", "low < high"]),
    (claim(region=[1, 1]), ["[1, 1]", "low < high"]),
    (claim(region=[0, math.nan]), ["nan", "low < high"]),
    (claim(region=[0]), ["[0]", "low < high"]),
    (claim(region=5), ["region must be a list of numbers", "5"]),
    (claim(region=["0", "1e-1"]), ["region must be a number", "'0'"]),
    (claim(metric="failed"), ["failed", "takes no `minus`", "two claims"]),
    (claim(of="plain"), ["of must be a mapping", "'plain'"]),
    (claim(minus=["plain"]), ["minus must be a mapping", "['plain']"]),
    (claim(of={"model": "plain", "detph": 56}), ["no column 'detph' (did you mean 'depth'?)"]),
    (claim(minus={"model": "plain", "depth": 32}), ["'depth': 32", "selects no run", "depth is 20, 56"]),
    (claim(of={"model": "plain", "depth": "56"}), ["selects no run"]),
    (claim(of={"depth": 56}), ["leaves model open", "one network per seed"]),
    (claim(of={}), ["leaves model, depth open"]),
    (claim(of={"model": "plain", "depth": 56, "seed": [0, 1]}), ["2 and 5 seeds cannot both support and refute it"]),
    (claim(region=[-100, 100]), ["nothing can refute it"]),
    (claim(best_by="test_error"), ["best_by must be one of", "got 'test_error'"]),
    (claim(smallest_effect=0), ["smallest_effect", "above 0"]),
    (claim(region=[-1, 1], smallest_effect=2), ["smallest_effect", "less than the region is wide"]),
    ({"pilot_seeds": [9, 3]}, ["seeds [3] are of the pilot"]),
    (claim(best_over="rate"), ["no column 'rate'"]),
    (claim(best_over="lr"), ["best_over", "data.split=45k"]),
    (claim(metric="valid_error"), ["valid_error", "data.split=45k"]),
    ({"figures": [FIGURE, FIGURE]}, ["figure 'curves' stands twice"]),
    (figure(draw="pie"), ["'pie'", "learning_curves"]),
    (figure(y=["accuracy"]), ["accuracy", "test_error"]),
    (figure(y="test_error"), ["'test_error'", "a list of"]),
    (figure(y=[]), ["[]", "a list of"]),
    (figure(where="plain"), ["where must be a mapping", "'plain'"]),
    (figure(where={"depth": 32}), ["selects no run", "depth is 20, 56"]),
    (figure(hue="detph"), ["no column 'detph'"]),
    (figure(panel="detph"), ["no column 'detph'"]),
    (figure(name="errors"), ["figure cannot be called 'errors'", "another file's name"]),
    ({"figures": [FIGURE, FIGURE | {"name": "Curves"}]}, ["figure 'Curves' stands twice"]),
    (figure(name="curves-slide"), ["'curves-slide'", "no figure's name ends in -column or -slide"]),
    (figure(scale="log"), ["'log'", "square-root, linear"]),
    (figure(paper="he2015-fig7"), ["no published curve 'he2015-fig7'"]),
]


@pytest.mark.parametrize(("changes", "said"), MISTAKES, ids=[str(said[0]) for _, said in MISTAKES])
def test_a_mistake_in_a_file_is_refused_by_name(written, changes, said):
    with pytest.raises(ConfigError) as caught:
        plan(read(written(**changes)))
    assert [words for words in said if words not in str(caught.value)] == [], str(caught.value)


@pytest.mark.parametrize("text", ["question: [", "- a list", "", "just text"])
def test_a_file_that_is_no_mapping_is_refused_by_its_path(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        read(path)


def test_a_key_that_stands_twice_is_refused_with_its_line(written):
    path = written()
    path.write_text(path.read_text() + "question: What else?\n")
    with pytest.raises(ConfigError, match="'question' stands twice"):
        read(path)


def test_values_of_best_over_need_the_same_seeds(written):
    base = {"task": "digits", "data.split": "45k", "model": "plain", "model.depth": 20, "seed": [0, 1, 2, 3, 4]}
    sound = [base | {"optim.lr": [0.1, 0.01, 0.001]}]
    uneven = [*sound, base | {"optim.lr": 0.0001, "seed": [0, 1, 2]}]
    best = {
        "claims": [CLAIM | {"of": {"depth": 20}, "minus": None, "region": [0, 1], "best_over": "lr"}],
        "figures": [],
    }
    assert len(plan(read(written(grid=sound, **best)))) == 15
    with pytest.raises(ConfigError, match="other seeds for other values of lr"):
        plan(read(written(grid=uneven, **best)))
    with pytest.raises(ConfigError, match="the best of 2 values of lr lies at an end of those tried"):
        plan(read(written(grid=[base | {"optim.lr": [0.1, 0.01]}], **best)))


def test_two_data_sets_need_two_titles(written):
    grid = [{"task": "folder", "data.title": "mine"}, {"task": "cifar10", "data.title": "mine"}]
    with pytest.raises(ConfigError, match=r"set data\.title"):
        plan(read(written(grid=grid, claims=[], figures=[])))


def test_claims_are_not_checked_against_a_grid_that_overrides_changed(written):
    assert len(plan(read(written()), ["model.depth=20"])) == 10


# Files that nobody would write in good faith -------------------------------------------------------------------

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 10)}]" for a, b in itertools.pairwise("abcdefghi")
)
MERGES = "a: &a {x: 1}\n" + "\n".join(
    f"{b}: &{b} {{<<: [{', '.join(['*' + a] * 10)}]}}" for a, b in itertools.pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "more than 100000 values"),
        (MERGES, "more than 100000 values"),
        ("a: &a [*a]", "nested more than 20 deep"),
        ("a: " + "[" * 50 + "]" * 50, "nested more than 20 deep"),
        ("a: " + "[" * 100_000, "nested more than 20 deep"),
        ("a: " + "x" * 2_000_000, "has 2000003 bytes"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: 2020-13-45", "not valid YAML"),
        ("a: \0", "not valid YAML"),
        ("a: !!python/object:os.system x", "not valid YAML"),
        ("? [a]\n: 1", "not valid YAML"),
        ("- a\nb", "not valid YAML"),
    ],
    ids=lambda value: value[:30],
)
def test_a_hostile_document_is_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_an_alias_stands_for_what_it_names(written):
    path = written()
    path.write_text(yaml.safe_dump({"question": "Why?", "source": "nobody", "claims": [], "figures": []}))
    path.write_text(
        path.read_text() + "grid:\n- &a {task: digits, seed: [0, 1]}\n- {<<: *a, model: plain}\n"
    )  # fmt: skip
    assert len(plan(read(path))) == 4


NAMES = ["../x", "/etc/passwd", "..", ".", "", ".hidden", "a/b", "a\\b", "a\nb", "a\0b", "a b", "x" * 201, "é" * 101,
         "-x", "con:", "data", "DATA", "ReadMe", "*", "${x}", "a\u202eb", "\ud800"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_what_is_no_name_is_refused_wherever_a_name_becomes_a_path(written, derived, name):
    for use in (
        lambda: load(name),
        lambda: read(derived(base=name)),
        lambda: read(written(**figure(name=name))),
        lambda: read(written(**figure(paper=name))),
        lambda: read(written(**claim(id=name))),
    ):
        with pytest.raises(ConfigError, match=r"must be called by letters, digits|cannot be called") as caught:
            use()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["depth", "fig-1.2", "λ_eins", "7", "x" * 200])
def test_what_is_a_name_may_be_one(written, name):
    assert read(written(**figure(name=name))).figures[0].name == name


def test_a_base_that_leads_back_is_refused(written, tmp_path):
    for name, base in ("a", "b"), ("b", "c"), ("c", "a"), ("self", "self"):
        (tmp_path / f"{name}.yaml").write_text(f"base: {base}\nset: {{seed: 0}}\n")
    for name in ("a", "b", "c", "self"):
        with pytest.raises(ConfigError, match="does not lead back here"):
            read(tmp_path / f"{name}.yaml")


def test_a_base_of_a_base_is_read(written, tmp_path):
    written(claims=[])
    (tmp_path / "one.yaml").write_text("base: made-up\nset: {seed: 0}\n")
    (tmp_path / "two.yaml").write_text("base: one\nset: {optim.lr: 0.2}\n")
    assert [(p.run.seed, p.run.optim.lr) for p in plan(read(tmp_path / "two.yaml"))] == [(0, 0.2)] * 4


@pytest.mark.parametrize("text", ["- a list", "3"])
def test_a_base_that_is_no_experiment_is_refused(tmp_path, text):
    (tmp_path / "odd.yaml").write_text(text)
    (tmp_path / "top.yaml").write_text("base: odd\nset: {seed: 0}\n")
    with pytest.raises(ConfigError, match=r"odd\.yaml must be a mapping"):
        read(tmp_path / "top.yaml")


# On top of another ---------------------------------------------------------------------------------------------


def test_a_derived_experiment_asks_the_same_of_other_settings(derived, tmp_path):
    origin, other = (
        read(tmp_path / "made-up.yaml"),
        read(derived(set={"data.title": "mine", "seed": [5, 6, 7, 8, 9]}, expected="soon")),
    )
    assert (other.id, other.question, other.claims, other.figures) == (
        "derived", origin.question, origin.claims, origin.figures
    )  # fmt: skip
    assert other.expected == "soon"
    assert len(plan(other)) == 2 * 2 * 5  # its seeds replace those of the base
    assert {columns(p.run)["data"] for p in plan(other)} == {"mine"}
    assert not set(names(plan(other))) & set(names(plan(origin)))


def test_a_key_of_a_derived_experiment_replaces_that_of_its_base(written, tmp_path):
    read(written())
    cell = {"task": "digits", "model": "resnet", "model.depth": [20, 56], "seed": [7, 8]}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"base": "made-up", "question": "And so?", "grid": [cell]}))
    origin, other = read(tmp_path / "made-up.yaml"), read(tmp_path / "other.yaml")
    assert (other.question, other.grid, other.claims) == ("And so?", [cell], origin.claims)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"base": "nobody"}, "base must be another experiment .*got 'nobody'"),
        ({"base": "derived"}, "base must be another experiment"),
        ({"set": ["data.title"]}, "set is a mapping"),
        ({"claim": []}, "with a base, the keys are base, set, question"),
        ({"grid": {}}, "derived.yaml: grid must be a list"),
    ],
)
def test_a_mistake_in_a_derived_experiment_is_named(derived, content, words):
    with pytest.raises(ConfigError, match=words):
        read(derived(**content))


def test_an_unknown_setting_of_a_derived_experiment_is_named(derived):
    with pytest.raises(ConfigError, match=r"unknown setting 'data\.titel'; did you mean 'data\.title'"):
        plan(read(derived(set={"data.titel": "mine"})))
