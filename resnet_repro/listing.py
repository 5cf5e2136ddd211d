"""Plans and states as tables that fit the terminal: every run where there is room, else the cells of the grid.

Where the output is no terminal every run has its line, with all that is known, to be searched and cut.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from resnet_repro import records
from resnet_repro.analysis.frames import text
from resnet_repro.config import columns
from resnet_repro.costs import Costs, estimate, runs_in_words
from resnet_repro.experiment import Claim, Experiment
from resnet_repro.jobs.packs import packs
from resnet_repro.metrics import SHARES
from resnet_repro.planning import Planned, in_order, seeds_of
from resnet_repro.power import FOUND, power
from resnet_repro.probes import PROBES
from resnet_repro.progress.grid import distinguishing

UNFINISHED = ("running", "interrupted", "crashed", "unmeasured", "missing")
"""States (records.state) of a run that has no record yet, or lacks a measurement that is asked for."""

STATES = ("finished", "diverged", "stuck", "failed", *UNFINISHED)
RIGHT = ("seed", "seeds", "pack", "packs", "steps", "seconds", "runs", "step", *STATES)
"""Columns of numbers."""


def plan(planned: Sequence[Planned], costs: Costs, slots: int | None, everything: bool = False) -> None:
    """Prints the plan: what is to train, in which state it is, what it takes; then the sums.

    Seconds are of training, predicted by costs.py; of a run in a pack, its share of the pack's.
    everything: every run, also where the terminal has room for its cells only.
    """
    states = {one.id: state(one) for one in planned}
    ordered = in_order(planned)
    formed = packs([one.run for one in ordered], None, slots=1)
    pack_of = {ordered[number].id: k for k, pack in enumerate(formed, start=1) for number in pack}
    runs = _runs(ordered, states, pack_of, costs)
    if everything or fits(runs):
        show(runs)
    else:
        shared = pack_of if len(formed) < len(planned) else {}
        cells = _cells(planned, states, shared, costs)
        show(cells if fits(cells) else _cells(planned, states, shared, costs, folded=True))
    left = [one for one in planned if states[one.id] in UNFINISHED]
    side = f" in {len(formed)} packs" if len(formed) < len(planned) else ""
    print(f"\n{runs_in_words(len(planned))}{side}: {estimate(planned, costs, slots)}")
    if len(left) < len(planned):
        print(f"{len(left)} to train: {estimate(left, costs, slots)}")
    if probes := measuring(planned):
        print(probes)


def measuring(planned: Sequence[Planned]) -> str:
    """What the looks of the probes add to the steps of training; empty where there are no steps, or no probes."""
    trained = [one.run for one in planned if one.run.optim.steps]
    taken = Counter[str]()
    for run in trained:
        for name in run.measure.probes:
            taken[name] += PROBES[name].cost(run.optim.steps, run.measure.every)
    if not taken:
        return ""
    percent = {name: 100 * cost / sum(run.optim.steps for run in trained) for name, cost in taken.most_common()}
    single = len(percent) == 1
    each = ", ".join(name if single else f"{name} {_whole(value)}" for name, value in percent.items())
    return f"probes add about {_whole(sum(percent.values()))} to the steps ({each})"


def _whole(percent: float) -> str:
    return f"{percent:.0f} %" if percent >= 1 else "less than 1 %"


def claims(experiment: Experiment, planned: Sequence[Planned]) -> None:
    """Prints how many seeds decide each claim, and how often they would find its smallest effect.

    planned: the experiment's own grid.
    """
    table = titled("claim", "n", "region", "effect", "found")
    seeds = seeds_of(experiment, planned)
    for claim in experiment.claims:
        counts = [len(side) for side in seeds[claim.id]]
        n = " and ".join(dict.fromkeys(map(str, counts)))
        effect = "–" if claim.smallest_effect is None else f"{claim.smallest_effect:g}"
        region = f"{claim.region[0]:g} to {claim.region[1]:g}".replace("inf", "∞")
        table.add_row(claim.id, n, region, effect, _found(claim, counts))
    if experiment.claims:
        print()
        show(table)
        print(
            "effect: the smallest of interest, in the unit of the metric. found: in how many\n"
            "sweeps it is; s: the largest standard deviation over seeds with which "
            f"{100 * FOUND:.0f} % do."
        )


def _found(claim: Claim, counts: Sequence[int]) -> str:
    found = power(claim, *counts)
    if found is None:
        return ""
    if claim.metric in SHARES:
        return f"{100 * found:.0f} %"
    return f"s {found:.2g}"


def state(one: Planned) -> str:
    """In which state the run is."""
    return records.state(records.folder(one.run, one.id), one.run.measure)


def _runs(planned: Sequence[Planned], states: dict[str, str], pack_of: dict[str, int], costs: Costs) -> Table:
    """A line for each run; the overrides repeat it."""
    table = titled("run", "state", "pack", "steps", "seconds", "overrides")
    for one in planned:
        said = _seconds([one], costs) or "not measured"
        numbers = (str(pack_of[one.id]), str(one.run.optim.steps), said)
        table.add_row(one.id, states[one.id], *numbers, " ".join(one.overrides))
    return table


def _cells(
    planned: Sequence[Planned], states: dict[str, str], pack_of: dict[str, int], costs: Costs, folded: bool = False
) -> Table:
    """A line for each cell of the grid: what differs between cells, the seeds, how many runs are in which state.

    folded: the states in one column and not in one each, `5 finished, 1 failed`; the rest are missing.
    """
    rows = {one.id: columns(one.run) for one in planned}
    by = distinguishing(list(rows.values())) or ["model", "depth"]
    groups: dict[tuple[str, ...], list[Planned]] = {}
    for one in planned:
        groups.setdefault(tuple(text(rows[one.id][k]) for k in by), []).append(one)
    there = occurring(states.values())
    steps = ["steps"] if len({one.run.optim.steps for one in planned}) > 1 and "steps" not in by else []
    heads = ["states"] if folded else there
    table = titled(*by, "seeds", *heads, *(["packs"] if pack_of else []), *steps, "seconds")
    for cell, runs in groups.items():
        counts = Counter(states[one.id] for one in runs)
        found = [str(counts[name] or "-") for name in there]
        if folded:
            found = [", ".join(f"{counts[name]} {name}" for name in there if counts[name] and name != "missing") or "-"]
        found += [ranges(pack_of[one.id] for one in runs)] if pack_of else []
        found += [str(runs[0].run.optim.steps)] if steps else []
        table.add_row(*cell, ranges(one.run.seed for one in runs), *found, _seconds(runs, costs) or "unknown")
    return table


def _seconds(runs: Sequence[Planned], costs: Costs) -> str:
    """The mean of the predicted seconds; `~` before it where some are those of their like."""
    predicted = [p for one in runs if (p := costs.predict(one)) is not None]
    if not predicted:
        return ""
    sign = "" if all(p.exact for p in predicted) else "~"
    mean = sum(p.seconds for p in predicted) / len(predicted)
    return f"{sign}{mean:.0f}" if mean >= 10 else f"{sign}{mean:.1f}"


def occurring(states: Iterable[str]) -> list[str]:
    """The states that there are, in the order of STATES."""
    there = set(states)
    return [name for name in STATES if name in there]


def ranges(numbers: Iterable[int]) -> str:
    """`0-4`, `0,2-3`: whole numbers in short."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


# Printing ------------------------------------------------------------------------------------------------------


def titled(*titles: str) -> Table:
    """An empty table with these columns; numbers stand to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, no_wrap=True, justify="right" if title in RIGHT else "left")
    return table


def fits(table: Table) -> bool:
    """Whether the table has room, which where the output is no terminal it always has."""
    console = Console(highlight=False)
    return not console.is_terminal or Console(width=10_000).measure(table).maximum <= console.width


def show(table: Table) -> None:
    """Prints the table, its lines whole, without blanks at their ends: the terminal breaks one that is too long."""
    console = Console(highlight=False, width=Console(width=10_000).measure(table).maximum)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().rstrip().split("\n")))
