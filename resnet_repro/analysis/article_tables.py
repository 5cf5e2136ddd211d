"""The tables of the article that are about all experiments: settings, differences from the paper, provenance."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from resnet_repro.analysis import published, words
from resnet_repro.analysis.frames import Measured, varying
from resnet_repro.analysis.tables.shown import single
from resnet_repro.analysis.typeset import Layout, Table, latex

if TYPE_CHECKING:
    import pandas as pd

PAPER = "He et al. 2015"


def settings_table(found: Sequence[Measured]) -> str:
    """Every setting with its value, or its values by experiment."""
    told = {name for measured in found for name in measured.told}
    names = [name for name in found[0].settings if name in told - {"seed"}]
    rows = [[words.setting(name), _by_experiment({m.experiment.id: _values(m.runs, name) for m in found})]
            for name in [*names, "seed"]]  # fmt: skip
    caption = "Every setting of the runs. Where experiments differ, each is named."
    return _latex("settings", caption, ["setting", "value"], rows, ["l", "X"])


def differences_table(found: Sequence[Measured]) -> str:
    """In what the protocols differ from the paper's, apart from what an experiment varies."""
    ours: dict[str, dict[str, str]] = {}
    theirs: dict[str, str] = {}
    for measured in found:
        varied = varying(measured.runs, measured.settings)
        for key, (mine, rule) in published.differences(dict(measured.runs.iloc[0]), PAPER).items():
            if key not in varied:
                ours.setdefault(key, {})[measured.experiment.id] = words.value(key, mine)
                theirs[key] = words.value(key, rule)
    rows = [[words.setting(key), _by_experiment(ours[key], len(found)), theirs[key]] for key in ours]
    several = [f"{words.value('model', n['model'])}-{n['depth']}" for n in _table_6() if n["n"] > 1]
    seeds = _by_experiment({m.experiment.id: str(m.runs["seed"].nunique()) for m in found})
    rows.append(["seeds for each network", seeds, f"1; {_table_6_n()} for {' and '.join(several)}"])
    caption = f"What differs from {PAPER}, apart from what the experiments vary."
    return _latex("differences", caption, ["", "here", PAPER], rows, ["l", "X", "X"])


def _table_6() -> list[dict[str, Any]]:
    return [n for n in published.numbers() if n["source"] == f"{PAPER}, table 6"]


def _table_6_n() -> int:
    return max(int(n["n"]) for n in _table_6())


def provenance_table(found: Sequence[Measured]) -> str:
    """Which commit, device, PyTorch and data the records come from, and how long the runs took."""
    columns = ["commit", "device", "torch", "data_sha256"]
    rows = []
    for m in found:
        for (commit, device, torch, data), group in m.runs[m.runs["measured"]].groupby(columns, dropna=False):
            hours = f"{group['seconds'].sum() / 3600:.2f}"
            rows.append([m.experiment.id, str(commit), str(device), str(torch), str(data)[:12], str(len(group)), hours])
    head = ["experiment", "commit", "device", "PyTorch", "data (SHA-256)", "runs", "hours"]
    caption = "Where the records come from: the commit that trained, on what, and the hash of the data it saw."
    return _latex("provenance", caption, head, rows, ["l", "l", "X", "l", "l", "r", "r"])


def _values(runs: "pd.DataFrame", name: str) -> str:
    return ", ".join(dict.fromkeys(words.value(name, what) for what in runs[name]))


def _by_experiment(values: dict[str, str], of: int | None = None) -> str:
    """The value, or where experiments differ, each value with its experiments."""
    if len(set(values.values())) == 1 and len(values) == (of or len(values)):
        return next(iter(values.values()))
    groups: dict[str, list[str]] = {}
    for experiment, value in values.items():
        groups.setdefault(value, []).append(experiment)
    return "; ".join(f"{value} ({words.enumerated(names)})" for value, names in groups.items())


def _latex(name: str, caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], align: Iterable[str]) -> str:
    layout = Layout(single(head), rows, list(align))
    return latex(Table("", name, name, caption, layout.head, rows, [], layout, layout), layout)
