"""From an experiment to its runs: the grid with the overrides on top, every cell composed and validated.

A claim or figure that selects no run, or does not say which, is refused here, before anything is trained.
"""

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_origin

from resnet_repro.config import ConfigError, Env, Measure, Run, columns, cost, run_id
from resnet_repro.experiment import Claim, Experiment, digest
from resnet_repro.grammar import check_count, parse, product
from resnet_repro.metrics import QUANTITIES
from resnet_repro.places import settle
from resnet_repro.power import undecidable
from resnet_repro.settings import check_hydra, compose, known_fields
from resnet_repro.typed import cut, nearest, shown

FEWEST_TRIED = 3
"""Values of `best_over`: of fewer the best is always the smallest or the largest."""


@dataclass(frozen=True)
class Planned:
    """A run of a plan, with the Hydra overrides that make it."""

    run: Run
    overrides: tuple[str, ...]
    id: str


def plan(experiment: Experiment, overrides: Sequence[str] = ()) -> list[Planned]:
    """Every run of the experiment's grid, composed and validated, each once, in the grid's order.

    overrides: Hydra overrides on top of the grid; one that names a key of the grid replaces the grid's values,
    one with several values (`seed=0,1`) multiplies the grid.
    Raises ConfigError for a bad cell, and for a claim or figure that selects no run of the unchanged grid.
    """
    if chosen := [text for text in overrides if text.startswith("hydra.sweeper")]:
        raise ConfigError(f"{shown(chosen[0])}: the experiment is {experiment.id}; leave this out")
    # What a launcher takes is checked by the command that knows which launcher it is.
    check_hydra([text for text in overrides if not text.startswith("hydra.launcher.")])
    measured = _measured(experiment)
    planned = expand([_cells(block | measured, overrides) for block in experiment.grid])
    for plan in planned:
        if plan.run.env.group == Env.group:  # W&B shows the runs of an experiment as a group
            plan.run.env.group = experiment.id
    if not overrides:
        check_selections(experiment, planned)
    return planned


def expand(blocks: Sequence[Sequence[list[str]]]) -> list[Planned]:
    """The runs of the cells (lists of overrides, each with one value) of several blocks; a repeated run once.

    Raises ConfigError where two folders of images have one title.
    """
    runs: dict[str, Planned] = {}
    folders: dict[str, str] = {}
    for cell in itertools.chain.from_iterable(blocks):
        run = settle(compose(cell))
        name = run_id(run)
        runs.setdefault(name, Planned(run, tuple(cell), name))
        where = folders.setdefault(run.data.title, run.env.data_dir)
        if run.data.name == "folder" and run.env.data_dir != where:
            raise ConfigError(
                f"{where} and {run.env.data_dir} are two data sets with the one data.title={run.data.title!r}, by "
                "which runs and tables know them; give each a title of its own, or sweep them one after the other"
            )
    return list(runs.values())


def in_order(planned: Sequence[Planned]) -> list[Planned]:
    """The runs in the order in which they are trained: seed by seed, the longest of each seed first.

    So a first complete comparison stands after the first seed, and a sweep ends with short runs.
    """
    seeds = {seed: place for place, seed in enumerate(dict.fromkeys(plan.run.seed for plan in planned))}
    return sorted(planned, key=lambda plan: (seeds[plan.run.seed], -cost(plan.run)))


def _measured(experiment: Experiment) -> dict[str, Any]:
    """What else to measure and keep of every run, as keys of a grid; nothing where that is the default."""
    asked = {"probes": [experiment.probes], "every": experiment.probe_every, "keep": experiment.keep}
    default = vars(Measure())
    return {f"measure.{key}": value for key, value in asked.items() if value not in (default[key], [default[key]])}


def _cells(block: dict[str, Any], overrides: Sequence[str]) -> list[list[str]]:
    replaced = {o.key_or_group for o in parse(overrides)}
    extras = product(overrides)
    axes = [
        [f"{key}={override_text(value)}" for value in _several(key, values)]
        for key, values in block.items()
        if key not in replaced
    ]
    check_count(math.prod(map(len, axes)) * len(extras))
    return [[*cell, *extra] for cell in itertools.product(*axes) for extra in extras]


def _several(key: str, values: Any) -> list[Any]:
    """The values of a key of a grid; one list of plain values for a setting that is a list is one value."""
    field = known_fields().get(key)
    a_list = field is not None and get_origin(field.type) is list
    if not isinstance(values, list) or (a_list and not any(isinstance(value, list) for value in values)):
        return [values]
    return values


def override_text(value: Any) -> str:
    """A YAML value in Hydra's override grammar."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return "[" + ",".join(override_text(v) for v in value) + "]"
    text = str(value)
    if not isinstance(value, str) or re.fullmatch(r"[\w.+-]+", text, re.ASCII):
        return text
    escaped = re.sub(r'(\\*)("|$)', lambda m: 2 * m[1] + ('\\"' if m[2] else ""), text)
    return f'"{escaped}"'


def selects(where: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether a row has, in every column named, the value (or one of the list of values) asked for."""
    return all(row[k] in v if isinstance(v, list) else row[k] == v for k, v in where.items())


def check_selections(experiment: Experiment, planned: Sequence[Planned]) -> None:
    """Refuses a claim that selects no run, several runs of one seed, a pilot's seed, or too few seeds to be decided."""
    rows = [columns(p.run) for p in planned]
    _check_distinguishable(rows, f"experiment {experiment.id}")
    for figure in experiment.figures:
        place = f"experiment {experiment.id}: figure {figure.name!r}"
        _check_columns([figure.hue, *([figure.panel] if figure.panel else [])], rows, place)
        _selected(figure.where, rows, place)
    for claim in experiment.claims:
        place = f"experiment {experiment.id}: claim {claim.id!r}"
        seeds = [_seeds(side, claim, rows, place) for side in _sides(claim)]
        _check_step(claim, rows, place)
        if pilots := sorted({*itertools.chain(*seeds)} & {*experiment.pilot_seeds}):
            raise ConfigError(f"{place}: seeds {pilots} are of the pilot, on which nothing is decided; take others")
        if not experiment.smoke and (why := undecidable(claim, *map(len, seeds))):
            raise ConfigError(f"{place}: {why} (region {shown(claim.region)})")


def _check_step(claim: Claim, rows: list[dict[str, Any]], place: str) -> None:
    """Refuses a step at which the curve of the claim's metric has no point in some run that it is about."""
    if claim.at is None:
        return
    every = QUANTITIES[claim.metric].curve
    for row in (row for side in _sides(claim) for row in rows if selects(side, row)):
        spaced = row[every] > 0 and claim.at % row[every] == 0
        if not 0 < claim.at <= row["steps"] or not (spaced or claim.at == row["steps"]):
            raise ConfigError(
                f"{place}: no point of {claim.metric} falls at step {claim.at}; it is measured every {row[every]} of "
                f"{row['steps']} steps ({every}), and at the end"
            )


def _sides(claim: Claim) -> list[dict[str, Any]]:
    return [side for side in (claim.of, claim.minus) if side is not None]


def seeds_of(experiment: Experiment, planned: Sequence[Planned]) -> dict[str, list[list[int]]]:
    """The seeds of each side of each claim, by claim. planned: the experiment's own grid."""
    rows = [columns(p.run) for p in planned]
    return {
        claim.id: [sorted({row["seed"] for row in rows if selects(side, row)}) for side in _sides(claim)]
        for claim in experiment.claims
    }


def served(experiment: Experiment) -> dict[str, list[str]]:
    """The digests of the claims that each run of the experiment's own grid serves, by run: what a run is told."""
    planned = plan(experiment)
    seeds = seeds_of(experiment, planned)
    marks = [(claim, digest(claim, seeds[claim.id])) for claim in experiment.claims]
    return {
        p.id: [mark for claim, mark in marks if any(selects(side, columns(p.run)) for side in _sides(claim))]
        for p in planned
    }


def _check_distinguishable(rows: list[dict[str, Any]], place: str) -> None:
    if len({tuple(row.values()) for row in rows}) < len(rows):
        raise ConfigError(f"{place}: two data sets have one title; set data.title for each")


def _check_columns(names: Iterable[str], rows: list[dict[str, Any]], place: str) -> None:
    for name in names:
        if name not in rows[0]:
            raise ConfigError(
                f"{place}: no column {shown(name)}{nearest(name, rows[0])}; columns are {', '.join(rows[0])}"
            )


def _selected(where: dict[str, Any], rows: list[dict[str, Any]], place: str) -> list[dict[str, Any]]:
    _check_columns(where, rows, place)
    found = [row for row in rows if selects(where, row)]
    if not found:
        there = "; ".join(f"{k} is {cut(', '.join(dict.fromkeys(str(row[k]) for row in rows)))}" for k in where)
        raise ConfigError(f"{place}: {shown(where)} selects no run of the grid, in which {there}")
    return found


def _seeds(side: dict[str, Any], claim: Claim, rows: list[dict[str, Any]], place: str) -> list[int]:
    """The seeds of the runs that one side of a claim selects: the same for each value of `best_over`.

    Raises ConfigError where it selects no run, several of a seed, or too few values to choose the best of.
    """
    found = _selected(side, rows, place)
    _check_columns([claim.best_over] if claim.best_over else [], rows, place)
    by = claim.best_by if claim.best_over else ""
    if "valid_error" in (by, claim.metric) and any(row["split"] == "full" for row in found):
        raise ConfigError(f"{place}: valid_error, which best_over selects by, needs data.split=45k; or name best_by")
    if claim.best_over and 1 < len(tried := {row[claim.best_over] for row in found}) < FEWEST_TRIED:
        raise ConfigError(
            f"{place}: the best of {len(tried)} values of {claim.best_over} lies at an end of those tried, where a "
            f"better one may lie beyond; try {FEWEST_TRIED} or more"
        )
    vary = [k for k in found[0] if k not in ("seed", claim.best_over) and len({str(row[k]) for row in found}) > 1]
    if vary:
        raise ConfigError(
            f"{place}: {shown(side)} leaves {', '.join(vary)} open; a claim compares one network per seed"
        )
    seeds: dict[Any, list[int]] = {}
    for row in found:
        seeds.setdefault(row[claim.best_over] if claim.best_over else None, []).append(row["seed"])
    first = sorted(next(iter(seeds.values())))
    if any(sorted(other) != first for other in seeds.values()):
        raise ConfigError(f"{place}: {shown(side)} has other seeds for other values of {claim.best_over}: {seeds}")
    return first
