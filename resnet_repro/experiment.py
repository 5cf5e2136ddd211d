"""What an experiment is: a question, a grid of runs, claims decided before the sweep, and figures.

An experiment is a YAML file in experiments/ and no code. `load` reads it, and refuses one with a mistake in it; which
runs its grid makes: planning.py. No torch, no pandas.

A file may also be another one with some settings changed in every cell of its grid, the same question of other images:

    base: degradation
    set: {data.name: folder, data.title: my images}
"""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from resnet_repro.config import ConfigError

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"
PAPER = Path(__file__).resolve().parent / "analysis" / "paper"

METRICS = {
    "train_error_running": "training error, running (augmented batches, training mode), %",
    "train_error_augmented": "training error (augmented images, evaluation mode), %",
    "train_error_clean": "training error (clean images, evaluation mode), %",
    "train_error_exact_bn": "training error (clean images, exact batch-norm statistics), %",
    "valid_error": "validation error, %",
    "test_error": "test error, %",
    "test_error_exact_bn": "test error (exact batch-norm statistics), %",
    "train_loss": "training loss, running (cross-entropy), nats",
}
"""What is measured of a run, with the words for an axis label."""

SHARES = {
    "diverged": "share of seeds that diverged (non-finite loss)",
    "stuck": "share of seeds stuck at chance (training error)",
    "failed": "share of seeds that failed (test error above 20 %, He et al. 2016, table 1)",
}
"""Yes or no for each run; a claim on one is a share of seeds."""

DRAWINGS = ("learning_curves", "error_by_depth", "error_by_scale", "norm_grid")


@dataclass
class Claim:
    """A sentence, what is measured for it, and the region in which the measurement supports it.

    `metric` is averaged over the seeds of the runs that `of` selects; with `minus`, the seed-paired difference to
    those is averaged. `region` is [low, high]; for a difference the ends do not belong to it (equal is not higher).
    `best_over` names a column (`lr`): on each side the value with the lowest mean validation error is taken.
    """

    id: str
    says: str
    metric: str
    of: dict[str, Any]
    region: list[float]
    minus: dict[str, Any] | None = None
    best_over: str | None = None


@dataclass
class Figure:
    """A picture of the measurements: `draw` names the drawing, the rest what goes where."""

    name: str
    draw: str
    y: list[str]
    title: str = ""
    where: dict[str, Any] = field(default_factory=dict)  # only these runs
    panel: str | None = None  # one panel for each value of this column
    hue: str = "model"  # one colour for each value of this column
    paper: str | None = None  # a published curve to draw beside ours (resnet_repro/analysis/paper/<name>.csv)


@dataclass
class Experiment:
    """One experiment file."""

    id: str
    question: str
    source: str
    grid: list[dict[str, Any]]
    claims: list[Claim]
    figures: list[Figure]
    expected: str = ""


def ids() -> list[str]:
    """The experiments there are, by name."""
    return sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))


def load(name: str) -> Experiment:
    """The experiment of experiments/<name>.yaml. Raises ConfigError naming the mistake, if there is one."""
    path = EXPERIMENTS / f"{name}.yaml"
    if not path.exists():
        raise ConfigError(f"no experiment {name!r}; there are {', '.join(ids())} (experiments/*.yaml)")
    return read(path)


def read(path: Path) -> Experiment:
    """The experiment in a YAML file. Raises ConfigError."""
    content = _content(path)
    _check_keys(content, Experiment, str(path), ignore=("id",))
    claims = [_build(Claim, c, f"{path}: claim {i + 1}") for i, c in enumerate(content.pop("claims") or [])]
    figures = [_build(Figure, f, f"{path}: figure {i + 1}") for i, f in enumerate(content.pop("figures") or [])]
    experiment = Experiment(id=path.stem, claims=claims, figures=figures, **content)
    _check_grid(experiment.grid, path)
    _check_distinct([claim.id for claim in claims], f"{path}: claim")
    _check_distinct([figure.name for figure in figures], f"{path}: figure")
    for claim in claims:
        _check_claim(claim, path)
    for figure in figures:
        _check_figure(figure, path)
    return experiment


def _content(path: Path) -> Any:
    """What the file says; of one with a `base`, what that says with the settings of `set` in its grid."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict) or "base" not in content:
        return content
    known = ("base", "set", "expected")
    if set(content) - set(known) or not isinstance(content.get("set"), dict):
        raise ConfigError(f"{path}: with a base, the keys are {', '.join(known)}, and set is a mapping; got {content}")
    base = path.with_name(f"{content['base']}.yaml")
    if not base.exists() or base == path:
        raise ConfigError(f"{path}: base must be another experiment ({', '.join(ids())}), got {content['base']!r}")
    origin = _content(base)
    _check_grid(origin.get("grid"), base)
    grid = [{**block, **content["set"]} for block in origin["grid"]]
    return {**origin, "grid": grid, "expected": content.get("expected", "")}


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, as YAML does and PyYAML does not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _build(kind: type, content: dict[str, Any], where: str) -> Any:
    _check_keys(content, kind, where)
    return kind(**content)


def _check_keys(content: Any, kind: type, where: str, ignore: Sequence[str] = ()) -> None:
    if not isinstance(content, dict):
        raise ConfigError(f"{where} must be a mapping of keys, got {content!r}")
    known = {f.name: f for f in dataclasses.fields(kind) if f.name not in ignore}
    unknown = sorted(set(content) - set(known))
    missing = [
        k for k, f in known.items()
        if k not in content and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]  # fmt: skip
    if unknown or missing:
        raise ConfigError(f"{where}: unknown keys {unknown}, missing keys {missing}; known are {', '.join(known)}")


def _check_grid(grid: Any, path: Path) -> None:
    if not isinstance(grid, list) or not grid or not all(isinstance(block, dict) for block in grid):
        raise ConfigError(f"{path}: grid must be a list of mappings from settings to values, got {grid!r}")
    for key, values in itertools.chain.from_iterable(block.items() for block in grid):
        if values == []:
            raise ConfigError(f"{path}: the grid gives no value for {key}; name one, or leave the key out")


def _check_distinct(names: list[Any], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{what} {name!r} stands twice; every one needs a name of its own")


def _check_claim(claim: Claim, path: Path) -> None:
    where = f"{path}: claim {claim.id!r}"
    if claim.metric not in [*METRICS, *SHARES]:
        raise ConfigError(f"{where}: metric must be one of {', '.join(METRICS | SHARES)}, got {claim.metric!r}")
    _check_where(claim.of, f"{where}: of")
    if claim.minus is not None:
        _check_where(claim.minus, f"{where}: minus")
    ends = claim.region if isinstance(claim.region, list) else []
    if len(ends) != 2 or not all(isinstance(end, int | float) for end in ends) or not ends[0] < ends[1]:
        raise ConfigError(f"{where}: region must be [low, high], two numbers with low < high, got {claim.region!r}")
    if claim.metric in SHARES and claim.minus is not None:
        raise ConfigError(f"{where}: a share of seeds ({claim.metric}) takes no `minus`; make it two claims")


def _check_figure(figure: Figure, path: Path) -> None:
    where = f"{path}: figure {figure.name!r}"
    if figure.draw not in DRAWINGS:
        raise ConfigError(f"{where}: draw must be one of {', '.join(DRAWINGS)}, got {figure.draw!r}")
    if not isinstance(figure.y, list) or not figure.y or not all(metric in [*METRICS] for metric in figure.y):
        raise ConfigError(f"{where}: y must be a list of {', '.join(METRICS)}, got {figure.y!r}")
    _check_where(figure.where, f"{where}: where")
    if figure.paper is not None and not (PAPER / f"{figure.paper}.csv").exists():
        raise ConfigError(f"{where}: no published curve {figure.paper!r} in {PAPER}; leave paper out")


def _check_where(where: Any, place: str) -> None:
    if not isinstance(where, dict):
        raise ConfigError(f"{place} must be a mapping from columns to values, as {{depth: 56}}, got {where!r}")
