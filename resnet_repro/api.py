"""What `import resnet_repro` offers to a notebook: measurements as frames, figures, networks; training and sweeps.

Nothing of the calling process is changed: no handler of its log, no backend or style of Matplotlib, no setting of
torch. `train` and `sweep` are the commands of the same name, each in a process of its own: equal settings give equal
bits, and stopping the cell stops the command, which goes on from there the next time. Errors that are the user's to
mend are `errors.UserError`, before anything is trained. Paths are relative to the working folder.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from os import EX_TEMPFAIL
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_repro import config, experiment, inputs, pictures, places, planning, project, records, settings
from resnet_repro.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from resnet_repro.analysis.frames import Measured
    from resnet_repro.nets import Network


# What was measured ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Results:
    """What was measured for an experiment.

    runs: a row per run of the plan, index `run_id`: its settings, `measured` (bool), `status`, every metric (errors in
        percent, losses in nats), `seconds` and provenance; a run that is not measured has missing values.
    points: `run_id, step, metric, x, y, value`, a row per value measured on the way; `x` and `y` are missing where a
        metric has none.
    verdicts: a row per claim, index `claim`: estimate, its 95 % interval `low` to `high`, `n` seeds, `verdict`, ...
    folder: where the data lie. local: whether they were measured here; else they are the authors'.
    """

    experiment: str
    folder: Path
    local: bool
    runs: "pd.DataFrame"
    points: "pd.DataFrame"
    verdicts: "pd.DataFrame"

    def __repr__(self) -> str:
        import pandas as pd

        counts = self.verdicts.get("verdict", pd.Series()).value_counts()
        decided = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
        where = "here" if self.local else "by its authors"
        done = f"{int(self.runs['measured'].sum())} of {len(self.runs)} runs"
        return f"{self.experiment}, measured {where}: {done}; {decided or 'no claims'}"


def experiments() -> "pd.DataFrame":
    """The experiments there are, index `experiment`: question, source, how many runs, and whose results there are.

    The columns `local` and `committed` say whether it was measured here, and by the authors.
    """
    import pandas as pd

    rows = []
    for spec in map(experiment.load, experiment.ids()):
        told = {"question": spec.question, "source": spec.source, "runs": len(planning.plan(spec))}
        there = {where: _data(spec.id, local).is_file() for where, local in (("local", True), ("committed", False))}
        rows.append({"experiment": spec.id, **told, **there})
    return pd.DataFrame(rows).set_index("experiment")


def results(name: str, *, committed: bool | None = None) -> Results:
    """What was measured for an experiment: here, or where nothing was, by the authors; `committed` chooses.

    Raises UserError where there is no such experiment, or nothing was measured for it.
    """
    import pandas as pd

    from resnet_repro.analysis import claims

    spec, local = experiment.load(name), _is_local(name, committed)
    measured = _measured(name, local)
    verdicts = pd.DataFrame([asdict(claims.decide(claim, measured)) for claim in spec.claims])
    verdicts = verdicts if verdicts.empty else verdicts.set_index("claim")
    return Results(name, _folder(name, local), local, measured.runs, measured.points, verdicts)


def figure(name: str, drawing: str, *, size: str = "", committed: bool | None = None) -> "Figure":
    """A figure of an experiment's file, by its name there, drawn anew; nothing is written.

    size: "" as wide as the text of a paper (5.5 in), "-column" 3.3 in, "-slide" 12 in. Raises UserError as `results`.
    """
    from resnet_repro.analysis import figures

    spec = experiment.load(name)
    found = [figure for figure in spec.figures if figure.name == drawing]
    if not found:
        names = ", ".join(figure.name for figure in spec.figures)
        raise UserError(f"the figures of {name} are {names}, got {drawing!r}")
    if size not in experiment.FIGURE_SIZES:
        raise UserError(f"size must be one of {', '.join(map(repr, experiment.FIGURE_SIZES))}, got {size!r}")
    picture = figures.draw(found[0], _measured(name, _is_local(name, committed)), size)
    picture._repr_png_ = partial(_png, picture)  # type: ignore[attr-defined]  # by which Jupyter shows it
    return picture


def _png(picture: "Figure") -> bytes:
    content = BytesIO()
    picture.savefig(content, format="png")
    return content.getvalue()


def _is_local(name: str, committed: bool | None) -> bool:
    """Whether the results asked for are those that were measured here. Raises UserError where there are none."""
    asked = [True, False] if committed is None else [not committed]
    for local in asked:
        if _data(name, local).is_file():
            return local
    places = " or ".join(str(_folder(name, local)) for local in asked)
    raise UserError(f"nothing was measured for {name} in {places}; sweep it: resnet_repro.sweep({name!r})")


def _folder(name: str, local: bool) -> Path:
    return (project.LOCAL if local else project.COMMITTED) / name


def _data(name: str, local: bool) -> Path:
    return _folder(name, local) / "data" / "runs.csv"


def _measured(name: str, local: bool) -> "Measured":
    from resnet_repro.analysis import frames

    return frames.load(experiment.load(name), _folder(name, local))


# Networks ------------------------------------------------------------------------------------------------------


def load(run_id: str, runs_dir: str | Path = "runs") -> "Network":
    """A run's trained network: [N, C, H, W] normalised images -> [N, classes] logits, in evaluation mode, on the CPU.

    It was kept by `measure.keep=net` (in an experiment's file `keep: net`) in the run's folder: net.safetensors, and
    beside it config.json with the arguments of its class. Raises UserError where it was not, or is damaged.
    """
    from resnet_repro.training import network

    return network.load(Path(places.absolute("runs_dir", str(runs_dir))) / run_id)


@dataclass(frozen=True)
class Trained:
    """A finished run: its name, its folder, and its record (settings, status, metrics, provenance)."""

    id: str
    folder: Path
    record: dict[str, Any]

    @property
    def status(self) -> str:
        """`finished`, `diverged`, `stuck` at chance, or `failed` (a test error above 20 %)."""
        return self.record["status"]

    @property
    def metrics(self) -> dict[str, float | None]:
        """What was measured at the end, by name; errors in percent. None: not measured."""
        return self.record["metrics"]

    @property
    def points(self) -> "pd.DataFrame":
        """What was measured on the way: `step, metric, x, y, value`."""
        import pandas as pd

        rows = records.read_points(self.folder)
        return pd.DataFrame(rows, columns=["step", "metric", "x", "y", "value"]).astype({"x": float, "y": float})

    def net(self) -> "Network":
        """The trained network, as `load` has it."""
        return load(self.id, self.folder.parent)

    def __repr__(self) -> str:
        return f"{self.id}: {self.status}, test error {self.metrics['test_error']:.2f} %"


def train(*overrides: str, **values: Any) -> Trained:
    """Trains a run, or goes on with it, or finds it finished: `train("model=plain", "task=digits", seed=3)`.

    overrides: settings as on the command line. values: the same by key, `seed=3` or `**{"model.depth": 56}`.
    Raises UserError for what is refused, and where the run crashed.
    """
    words = _words(overrides, values)
    run = places.settle(settings.compose(words))
    name = config.run_id(run)
    folder = records.folder(run, name)
    if inputs.record(run, folder, inputs.Present()) is None:
        _command("train", *places.handed(run, words))
    record = records.read(folder)
    assert record is not None  # the command ended well
    return Trained(name, folder, record)


def sweep(name: str, *overrides: str, launcher: str = "local", minutes: float | None = None, **values: Any) -> Results:
    """Trains what is missing of an experiment, collects it, and returns its results.

    overrides, values: as of `train`, for every run; `seed=0` picks those of the experiment's runs. launcher: Hydra's.
    minutes: train no longer than this; the same call goes on from there.
    Raises UserError for what is refused, for settings that make other runs than the experiment's (write an experiment
    of your own, in two lines: `base` and `set`), and where runs crashed: they are listed, the others are kept.
    """
    words, spec = _words(overrides, values), experiment.load(name)
    if not pictures.own_plan(spec, planning.plan(spec, words)):
        raise UserError(
            f"{', '.join(words)} makes other runs than {name} asks for; write experiments/<your name>.yaml with "
            f"`base: {name}` and `set: {{...}}`, and sweep that"
        )
    limit = [] if minutes is None else ["--minutes", str(minutes)]
    _command("sweep", name, "--launcher", launcher, *limit, *words)
    return results(name, committed=False)


def _words(overrides: Sequence[str], values: dict[str, Any]) -> list[str]:
    return [*overrides, *(f"{key}={planning.override_text(value)}" for key, value in values.items())]


def _command(verb: str, *words: str) -> None:
    """Runs a command and prints what it prints; Ctrl-C, or the notebook's stop, is handed on to it.

    Raises UserError with the error that it ends with.
    """
    command = [sys.executable, "-m", f"resnet_repro.{verb}", *words]
    # Jupyter claims to be a terminal: no screen is drawn in a cell, but a line now and then.
    surroundings = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"} | {"TERM": "dumb"}
    lines = [""]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        errors="replace", env=surroundings, process_group=0,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        try:
            for line in child.stdout:
                print(line, end="", flush=True)
                lines.append(line)
        except BaseException:
            child.send_signal(signal.SIGINT)
            raise
    if child.returncode not in (0, EX_TEMPFAIL):
        raise UserError(lines[-1].removeprefix("error: ").strip() or f"{verb} ended with code {child.returncode}")
