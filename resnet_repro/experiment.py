"""What an experiment is: a question, a grid of runs, claims decided before the sweep, and figures.

An experiment is a YAML file in experiments/ and no code. `load` reads it, and refuses one with a mistake in it; which
runs its grid makes: planning.py. No torch, no pandas.

A file may also be another one with some settings changed in every cell of its grid, the same question of other images;
and each key that it has itself replaces the base's:

    base: degradation
    set: {data.name: folder, data.title: my images}
    claims: [...]
"""

import dataclasses
import hashlib
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from resnet_repro import documents, project
from resnet_repro.config import ConfigError, Measure, choices
from resnet_repro.metrics import CURVES, METRICS, PROFILES, QUANTITIES, SHARES, SUMMARIES, SURFACES
from resnet_repro.probes import PROBES
from resnet_repro.typed import nearest, problem, shown

PAPER = project.PACKAGE / "analysis" / "paper"

RESERVED = ("README", "verdicts", "errors", "paper", "manifest", "data", "site", "local")
"""Names in results/<id> and results/ that are other files'."""

LONGEST_NAME = 200
"""Bytes of a name: a file system holds 255, and the files of a figure or of a run have endings."""

Value = str | int | float | bool | None
"""One value of a setting or of a column."""

DRAWINGS = {
    "learning_curves": "learning_curves",
    "error_by_depth": "seed_errors",
    "error_by_scale": "seed_errors",
    "norm_grid": "seed_errors",
    "profile": "profile",
    "surface": "surface",
}
"""What a figure may draw, each with its module in analysis/figures/, which has its title, checks, numbers and picture.
"""
SCALES = ("square-root", "linear")
FIGURE_SIZES = ("", "-column", "-slide")
"""What the files of a figure are called after its name: as wide as the text of a paper, as a column, for a slide."""


@dataclass
class Claim:
    """A sentence, what is measured for it, and the region in which the measurement supports it.

    `metric` is that of the runs that `of` selects: its median over seeds, or for a share the share; with `minus`, the
    median difference of a run of the one side and a run of the other. `region` is [low, high]; for a difference the
    ends do not belong to it (equal is not higher). `smallest_effect`: how far inside the region the truth must lie to
    be worth finding, in the unit of the metric; for the power that a plan shows.
    `best_over` names a column (`lr`): on each side the value with the lowest mean of `best_by` is taken.
    """

    id: str
    says: str
    metric: str
    of: dict[str, Value | list[Value]]
    region: list[float]
    minus: dict[str, Value | list[Value]] | None = None
    best_over: str | None = None
    best_by: str = "valid_error"
    smallest_effect: float | None = None
    at: int | None = None  # the step of the curve of `metric` whose value counts; None: the number at the end
    paper: str = ""  # what the authors cited found, in words, to be shown beside it


def digest(claim: Claim, seeds: Sequence[Iterable[int]]) -> str:
    """A name for what decides a claim: all of it but its id and its words, with the seeds of each of its sides.

    The words, and those of a paper, are left out so that a clearer sentence is no new claim; what they may say is bound
    by the region. A field at its default is left out, too, so that one added later renames no claim. A letter first, so
    that nothing takes it for a number.
    """
    fields = [f for f in dataclasses.fields(claim) if f.name not in ("id", "says", "paper")]
    content = {f.name: getattr(claim, f.name) for f in fields if getattr(claim, f.name) != f.default}
    content |= {"region": [float(end) for end in claim.region]}
    content |= {"seeds": [sorted({int(seed) for seed in side}) for side in seeds]}
    return "c" + hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


@dataclass
class Figure:
    """A picture of the measurements: `draw` names the drawing, the rest what goes where."""

    name: str
    draw: str
    y: list[str]
    title: str = ""
    where: dict[str, Value | list[Value]] = field(default_factory=dict)  # only these runs
    panel: str | None = None  # one panel for each value of this column
    hue: str = "model"  # one colour for each value of this column
    paper: str | None = None  # a published curve to draw beside ours (resnet_repro/analysis/paper/<name>.csv)
    at: int = 0  # of a profile or a surface: after how many steps
    scale: str = "square-root"  # of the errors; or linear, cut off above the last errors, as in He et al. 2015, fig. 6


@dataclass
class Experiment:
    """One experiment file."""

    id: str
    question: str
    source: str
    grid: list[dict[str, Value | list[Value | list[Value]]]]
    claims: list[Claim]
    figures: list[Figure]
    expected: str = ""
    probes: list[str] = field(default_factory=list)  # what else is measured of every run (measure.probes)
    probe_every: int = 0  # steps between looks of these probes (measure.every)
    keep: str = "none"  # net: the trained networks are kept (measure.keep)
    smoke: bool = False  # tries out whether everything is in place; its claims are no findings
    pilot_seeds: list[int] = field(default_factory=list)  # with which it was designed: no claim is decided on them

    @property
    def asked(self) -> set[str]:
        """The metrics that its claims and figures name."""
        return {claim.metric for claim in self.claims} | {metric for figure in self.figures for metric in figure.y}


def ids() -> list[str]:
    """The experiments there are, by name."""
    return sorted({path.stem for folder in project.EXPERIMENTS for path in folder.glob("*.yaml")})


def file(name: str) -> Path | None:
    """The file of the experiment called so, if there is one."""
    return next((path for path in _files(name) if path.is_file()), None)


def _files(name: str) -> list[Path]:
    """Where its file may lie: the first that is there counts."""
    return [folder / f"{name}.yaml" for folder in project.EXPERIMENTS]


def load(name: str) -> Experiment:
    """The experiment of experiments/<name>.yaml. Raises ConfigError naming the mistake, if there is one."""
    path = file(named(name, "an experiment"))
    if path is None:
        near = nearest(name, ids())
        raise ConfigError(f"no experiment {name!r}{near}; there are {', '.join(ids())} (experiments/*.yaml)")
    return read(path)


def named(name: Any, what: str) -> str:
    """The name, which becomes that of files and folders on every system, and a label in tables.

    Raises ConfigError for anything but letters, digits, `_`, `-` and `.` behind a first letter or digit (hence for
    separators, `..`, an absolute path, spaces and control characters), and for one that is too long or taken.
    """
    rule = f"letters, digits, _, - and . behind a letter or digit, at most {LONGEST_NAME} bytes"
    if not isinstance(name, str) or not re.fullmatch(r"[^\W_][\w.-]*", name):
        raise ConfigError(f"{what} must be called by {rule}, got {shown(name)}")
    if len(name.encode()) > LONGEST_NAME:
        raise ConfigError(f"{what} must be called by {rule}; it has {len(name.encode())}: {shown(name)}")
    if same(name) in map(same, RESERVED):
        raise ConfigError(f"{what} cannot be called {name!r}, which is another file's name ({', '.join(RESERVED)})")
    return name


def same(name: str) -> str:
    """Equal for names that are one file on some file system: upper and lower case, composed and decomposed letters."""
    return unicodedata.normalize("NFC", name).casefold()


def read(path: Path) -> Experiment:
    """The experiment in a YAML file. Raises ConfigError."""
    named(path.stem, f"the experiment of {shown(str(path))}")
    content = _content(path, ())
    if isinstance(content, dict):
        content = content | {key: [] for key in ("claims", "figures") if content.get(key, ...) is None}
    _check_keys(content, Experiment, str(path), ignore=("id",))
    claims = [_build(Claim, claim, f"{path}: claim {i + 1}") for i, claim in enumerate(content["claims"])]
    figures = [_build(Figure, figure, f"{path}: figure {i + 1}") for i, figure in enumerate(content["figures"])]
    experiment = Experiment(**content | {"id": path.stem, "claims": claims, "figures": figures})
    _check_grid(experiment.grid, path)
    _check_measured(experiment, path)
    _check_names([claim.id for claim in claims], f"{path}: claim")
    _check_names([figure.name for figure in figures], f"{path}: figure")
    for claim in claims:
        _check_claim(claim, path)
        _check_probed([claim.metric], experiment, f"{path}: claim {claim.id!r}")
    for figure in figures:
        _check_figure(figure, path)
        _check_probed(figure.y, experiment, f"{path}: figure {figure.name!r}")
    return experiment


def _content(path: Path, above: Sequence[Path]) -> Any:
    """What the file says; of one with a `base`, what that says with its own keys in their place, `set` in every cell.

    above: the files of which this one is the base.
    """
    content = documents.read(path)
    if not isinstance(content, dict) or "base" not in content:
        return content
    known = ("base", "set", *(f.name for f in dataclasses.fields(Experiment) if f.name != "id"))
    if set(content) - set(known) or not isinstance(content.get("set", {}), dict):
        raise ConfigError(
            f"{path}: with a base, the keys are {', '.join(known)}, and set is a mapping; got {shown(content)}"
        )
    name = named(content["base"], f"{path}: base")
    candidates = [path.with_name(f"{name}.yaml"), *_files(name)]
    base = next((file for file in candidates if file.is_file() and file not in (*above, path)), None)
    if base is None:
        raise ConfigError(
            f"{path}: base must be another experiment ({', '.join(ids())}) that does not lead back here, "
            f"got {shown(content['base'])}"
        )
    origin = _content(base, (*above, path))
    if not isinstance(origin, dict):
        raise ConfigError(f"{base} must be a mapping of keys, got {shown(origin)}")
    own = {key: value for key, value in content.items() if key not in ("base", "set")}
    merged = {**origin, "expected": "", **own}  # how long the base takes says nothing of this one
    _check_grid(merged.get("grid"), path if "grid" in own else base)
    return {**merged, "grid": [{**block, **content.get("set", {})} for block in merged["grid"]]}


def _build(kind: type, content: dict[str, Any], where: str) -> Any:
    _check_keys(content, kind, where)
    return kind(**content)


def _check_keys(content: Any, kind: type, where: str, ignore: Sequence[str] = ()) -> None:
    """Refuses a key that the dataclass does not have, one that is missing, and a value of another type."""
    if not isinstance(content, dict):
        raise ConfigError(f"{where} must be a mapping of keys, got {shown(content)}")
    known = {f.name: f for f in dataclasses.fields(kind) if f.name not in ignore}
    unknown = sorted(set(content) - set(known), key=str)
    missing = [
        k for k, f in known.items()
        if k not in content and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]  # fmt: skip
    if unknown or missing:
        raise ConfigError(
            f"{where}: unknown keys {shown(unknown)}{nearest(unknown[0], known) if unknown else ''}, missing keys "
            f"{missing}; known are {', '.join(known)}"
        )
    types = get_type_hints(kind)
    for key, value in content.items():
        if said := problem(value, types[key], key):
            raise ConfigError(f"{where}: {said}")


def _check_grid(grid: Any, path: Path) -> None:
    if not isinstance(grid, list) or not grid or not all(isinstance(block, dict) for block in grid):
        raise ConfigError(f"{path}: grid must be a list of mappings from settings to values, got {shown(grid)}")
    for key, values in itertools.chain.from_iterable(block.items() for block in grid):
        if values == []:
            raise ConfigError(f"{path}: the grid gives no value for {shown(key)}; name one, or leave the key out")


def _check_measured(experiment: Experiment, path: Path) -> None:
    if unknown := [probe for probe in experiment.probes if probe not in PROBES]:
        raise ConfigError(f"{path}: probes must be a list of {', '.join(PROBES)}, got {shown(unknown[0])}")
    if experiment.keep not in (kept := choices(Measure, "keep")):
        raise ConfigError(f"{path}: keep must be one of {', '.join(kept)}, got {shown(experiment.keep)}")


def _check_names(names: list[Any], what: str) -> None:
    """Refuses a name that no file can have, and two that would be one file."""
    taken: set[str] = set()
    for name in names:
        if same(named(name, what)) in taken:
            raise ConfigError(f"{what} {name!r} stands twice; every one needs a name of its own")
        taken.add(same(name))


def _check_claim(claim: Claim, path: Path) -> None:
    where = f"{path}: claim {claim.id!r}"
    known = CURVES if claim.at is not None else METRICS + SUMMARIES + SHARES
    if claim.metric not in [*known]:
        at = "" if claim.at is None else f" at a step (at: {claim.at})"
        raise ConfigError(f"{where}: metric{at} must be one of {', '.join(known)}, got {shown(claim.metric)}")
    ends = claim.region
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ConfigError(
            f"{where}: region must be [low, high], two numbers with low < high, got {shown(claim.region)}"
        )
    if claim.metric in SHARES and claim.minus is not None:
        raise ConfigError(f"{where}: a share of seeds ({claim.metric}) takes no `minus`; make it two claims")
    if claim.best_by not in [*METRICS] or claim.best_by.startswith("test"):
        chooses = [metric for metric in METRICS if not metric.startswith("test")]
        raise ConfigError(f"{where}: best_by must be one of {', '.join(chooses)}, got {shown(claim.best_by)}")
    if claim.smallest_effect is not None and not 0 < claim.smallest_effect < ends[1] - ends[0]:
        raise ConfigError(
            f"{where}: smallest_effect is how far inside the region {shown(ends)} the truth must lie to be found, "
            f"above 0 and less than the region is wide, got {claim.smallest_effect:g}"
        )


def _check_probed(metrics: Sequence[str], experiment: Experiment, where: str) -> None:
    """Refuses metrics that a probe would measure which the experiment does not ask for."""
    for metric in metrics:
        needed = [p.name for p in PROBES.values() if (QUANTITIES[metric].of or metric) in p.quantities]
        if needed and needed[0] not in experiment.probes:
            raise ConfigError(f"{where}: {metric} is measured by a probe; add `probes: [{needed[0]}]` to the file")


def _check_figure(figure: Figure, path: Path) -> None:
    where = f"{path}: figure {figure.name!r}"
    if figure.draw not in DRAWINGS:
        raise ConfigError(f"{where}: draw must be one of {', '.join(DRAWINGS)}, got {shown(figure.draw)}")
    known = {"profile": PROFILES, "surface": SURFACES}.get(figure.draw, METRICS + SUMMARIES)
    if not figure.y or not all(metric in [*known] for metric in figure.y):
        raise ConfigError(f"{where}: y must be a list of {', '.join(known)}, got {shown(figure.y)}")
    if figure.scale not in SCALES:
        raise ConfigError(f"{where}: scale must be one of {', '.join(SCALES)}, got {shown(figure.scale)}")
    if same(figure.name).endswith(FIGURE_SIZES[1:]):
        raise ConfigError(f"{where}: no figure's name ends in {' or '.join(FIGURE_SIZES[1:])}, which are sizes of one")
    if figure.paper is not None and not (PAPER / f"{named(figure.paper, f'{where}: paper')}.csv").exists():
        raise ConfigError(f"{where}: no published curve {shown(figure.paper)} in {PAPER}; leave paper out")
