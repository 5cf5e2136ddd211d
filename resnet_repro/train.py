"""Train one run: `python -m resnet_repro.train model=resnet model.depth=56 seed=3`.

With -m, any Hydra sweep through any launcher: `python -m resnet_repro.train -m model=plain,resnet seed=0,1,2`.
A finished run is not trained again; an interrupted one goes on from its checkpoint, to the same bits.
"""

import json
import os
import shlex
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

import resnet_repro
from resnet_repro import (
    config,
    errors,
    grammar,
    inputs,
    measure,
    memory,
    metrics,
    mirror,
    places,
    planning,
    progress,
    project,
    provenance,
    ranks,
    records,
    reference,
    settings,
    terminal,
)


def train(run: config.Run, overrides: Sequence[str] = (), log: bool = False) -> dict[str, Any]:
    """Trains a run to its end, or continues it, and returns its record; a finished run's record is returned at once.

    overrides: what the user asked for, kept in the record. log: send what is printed to the run's log.txt.
    Raises records.Busy while another process trains the same run, inputs.OtherData where it was begun on other data.
    """
    made = train_pack([(run, overrides)], log)
    if not made:
        raise records.Busy(records.folder(run, config.run_id(run)))
    return made[0]


def train_pack(pack: Sequence[tuple[config.Run, Sequence[str]]], log: bool = False) -> list[dict[str, Any]]:
    """As `train`, for runs side by side in this process; each run's record is written as soon as it is done.

    Runs that another process trains are left to it, and out of what is returned. Those that were begun on other data
    (inputs.OtherData), or whose folders cannot be used, are refused once the others are done. The runs' `env` and
    precision must be one.
    """
    finished: dict[str, dict[str, Any]] = {}
    started: list[Started] = []
    provenance.commit()  # of the code that trains, not of what is there when it has
    refused: list[Exception] = []
    present = inputs.Present()
    with ExitStack() as held:
        for run, overrides in pack:
            start = Started(run, overrides)
            try:
                held.enter_context(records.lock(start.place))
                record = inputs.record(run, start.place, present) or measure.on_kept_network(run, start.place)
            except records.Busy:
                continue
            except (errors.UserError, OSError) as error:
                refused.append(error)
                continue
            if record is None:
                started.append(start)
            else:
                finished[start.name] = record
        if started:
            logs = [start.place / "log.txt" for start in started]
            with _printed_to(logs) if log else nullcontext():
                finished |= _trained(started)
    if refused:
        raise (
            refused[0]
            if len(refused) == 1
            else errors.UserError(" ".join(errors.sentence(e) or repr(e) for e in refused))
        )
    return list(finished.values())


class Started:
    """A run that this process is about to train."""

    def __init__(self, run: config.Run, overrides: Sequence[str]) -> None:
        self.run, self.overrides = run, list(overrides)
        self.name = config.run_id(run)
        self.place = records.folder(run, self.name)

    def again(self) -> None:
        """Takes away the record that lacks what is asked for, if there is one, and asks for what it has as well.

        The claims stay those that it was told: of later ones its numbers were known.
        """
        record = records.read(self.place)
        if record is not None:
            more, env = records.with_more(record, self.run.measure), self.run.env
            self.run = replace(self.run, measure=more, env=replace(env, claims=record.get("claims", [])))
            records.supersede(self.place)

    def metadata(self) -> dict[str, Any]:
        """The part of a record that is known at the start."""
        return {
            "run_id": self.name,
            "config": config.science(self.run),
            "group": self.run.env.group,
            "claims": self.run.env.claims,
            "command": command(self.overrides),
        }


def command(overrides: Sequence[str]) -> str:
    """What to paste into a shell to train the run with these overrides."""
    folder = os.environ.get(project.CONFIG_DIR)
    own = [] if folder is None else ["--config-dir", folder]
    return shlex.join(["python", "-m", "resnet_repro.train", *own, *overrides])


def _trained(started: Sequence[Started]) -> dict[str, dict[str, Any]]:
    """Trains the runs side by side, in as many processes as one has devices, and returns their records, by name."""
    for start in started:
        start.again()
    first = started[0]
    ranks.check(first.run)
    if first.run.env.devices == 1 or first.run.optim.steps == 0 or ranks.launched():
        return _trained_here(started)
    from resnet_repro.training.launch import launch

    launch(first.run.env.devices, _train_as_rank, first.run, first.overrides)
    record = records.read(first.place)
    assert record is not None
    return {first.name: record}


def _train_as_rank(run: config.Run, overrides: Sequence[str]) -> None:
    provenance.commit()
    if ranks.rank() > 0:
        follow(run)
    else:
        _trained_here([Started(run, overrides)])


def follow(run: config.Run) -> None:
    """Takes part, as a rank that writes nothing, in the training of a run; returns at once where it is finished."""
    ranks.check(run)
    place = records.folder(run, config.run_id(run))
    if run.optim.steps == 0 or records.complete(run, config.run_id(run)) is not None:
        return
    from resnet_repro.training.fit import fit
    from resnet_repro.training.network import data_sets
    from resnet_repro.training.train_state import TrainState

    (images,) = data_sets([run])
    fit([TrainState(run, images, place)], lambda _: None)


def _trained_here(started: Sequence[Started]) -> dict[str, dict[str, Any]]:
    """Trains the runs side by side in this process, and writes and returns their records, by name."""
    from resnet_repro.training.fit import fit
    from resnet_repro.training.network import data_sets, keep
    from resnet_repro.training.train_state import TrainState

    sets = data_sets([start.run for start in started])
    states = [
        TrainState(start.run, images, start.place, start.metadata())
        for start, images in zip(started, sets, strict=True)
    ]
    of = dict(zip(states, started, strict=True))
    finished = {}

    def finish(state: TrainState) -> None:
        start = of[state]
        told = _told(start.place)
        record = {**start.metadata(), **told, "overrides": start.overrides, **_measured(state, len(states))}
        record["provenance"]["claims"] = " ".join(told["claims"])
        if start.run.measure.keep == "net":
            record["net_sha256"] = keep(start.run, state.images, state.net, start.place)
        finished[start.name] = records.write(start.place, record)

    fit(states, finish)
    return finished


def _told(place: Path) -> dict[str, list[str]]:
    """The claims that the run was told of when it began, whatever there is now; none where that is lost."""
    try:
        began = json.loads((place / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        began = {}
    return {"claims": began.get("claims", [])}


def _measured(state: Any, pack: int) -> dict[str, Any]:
    """The measured part of a record: status, metrics, provenance."""
    from resnet_repro.probes.errors import final_errors
    from resnet_repro.probes.status import status, status_flags

    run, feed = state.run, state.engine.feed
    measured = state.running | final_errors(
        state.net, feed, batch=run.optim.batch, valid=state.images.valid_y is not None,
        bf16=run.optim.precision == "bf16",
    )  # fmt: skip
    diverged = state.diverged_step is not None
    if diverged:  # its outputs are no numbers
        measured = {name: metrics.of_diverged(name) for name in measured}
    flags = status_flags(measured, feed.train_y, diverged)
    if not run.optim.steps:  # what was not trained has not failed to train
        flags = dict.fromkeys(flags, False)
    machine = provenance.describe(state.engine.device.type)
    # Of a device that several runs share, a run's time is its share.
    engine = config.engine_of(run, state.engine.device.type == "cuda")
    how = {"engine": engine, "pack": pack, "seconds": round(state.seconds / pack, 3), **_ways(run.env)}
    return {
        "status": status(flags),
        "status_flags": flags,
        "metrics": {"train_loss": None, **measured},
        "measured": state.measured,
        "parameters": sum(p.numel() for p in state.net.parameters()),
        "steps_done": state.step,
        "diverged_step": state.diverged_step,
        "provenance": {**machine, **how, **_images(state.images, feed.train_y)},
    }


def _images(images: Any, train_y: Any) -> dict[str, Any]:
    """Which images, and how many are measured on: an error over N of them is known to 1 / N."""
    counts = {"train": train_y, "valid": images.valid_y, "test": images.test_y}
    found: dict[str, Any] = {f"{name}_images": None if y is None else len(y) for name, y in counts.items()}
    return found | {"data_sha256": images.sha256}


def _ways(env: config.Env) -> dict[str, Any]:
    """What decides the bits of a run beside its config, its device and torch (collect.SAME_BITS)."""
    layout = "channels_last" if env.channels_last else "contiguous"
    return {"threads": env.threads, "layout": layout, "devices": env.devices, "compile": env.compile}


@contextmanager
def _printed_to(paths: Sequence[Path]) -> Iterator[None]:
    """Appends what this process prints to the first file, also from C; and if it fails, the traceback to every one."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with ExitStack() as opened:
        files = [opened.enter_context(open(path, "ab", buffering=0)) for path in paths]
        for file in files:
            file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} pid {os.getpid()}\n".encode())
        for file in files[1:]:
            file.write(f"in one pack with {paths[0].parent.name}; what the pack prints: {paths[0]}\n".encode())
        os.dup2(files[0].fileno(), 1)
        os.dup2(files[0].fileno(), 2)
        try:
            yield
        except Exception:
            for file in files:
                file.write(traceback.format_exc().encode())
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, original in enumerate(kept, start=1):
                os.dup2(original, number)
                os.close(original)


@hydra.main(version_base="1.3", config_path=str(project.CONF), config_name="config")
def main(cfg: DictConfig) -> str:
    """One Hydra job. Returns the run's status, in a sweep also that it was left to another process."""
    overrides = list(HydraConfig.get().overrides.task)
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        run = places.settle(settings.resolve(cfg), Path(HydraConfig.get().runtime.cwd))
        made = train_pack([(run, overrides)], log=True)
        return made[0]["status"] if made else "left to another process"
    with errors.told():
        run = places.settle(settings.resolve(cfg), Path(HydraConfig.get().runtime.cwd))
        if ranks.rank() > 0:
            follow(run)
            return "followed"
        return _train_alone(run, overrides)


def _train_alone(run: config.Run, overrides: Sequence[str]) -> str:
    """Trains a run with its progress and W&B, prints what was measured, and returns its status."""
    planned, began = planning.Planned(run, tuple(overrides), config.run_id(run)), time.time()
    if said := inputs.unmeasured([planned]):
        print(said)
    with mirror.following([planned]), progress.shown([planned]):
        record = train(run, overrides)
    terminal.show_run(records.folder(run, planned.id), record, began)
    return record["status"]


def cli() -> NoReturn:
    """The command line: composes the overrides once before Hydra does, for errors that say what to do."""
    places.command(_answer)


def _answer() -> None:
    if reference.asked_for(sys.argv[1:]):
        reference.show(sys.argv[1:])
    else:
        _check_command_line(sys.argv[1:])
        main()


def _check_command_line(arguments: Sequence[str]) -> None:
    multirun = bool({"-m", "--multirun"} & set(arguments))
    if any(a.startswith("-") and a not in ("-m", "--multirun") for a in arguments):
        return  # --hydra-help, completion: Hydra's own
    overrides = [a for a in arguments if not a.startswith("-")]
    settings.check_hydra(overrides)
    if multirun and (place := ranks.launched()):
        raise config.ConfigError(f"{place.by} starts the processes of one run: leave out -m, a sweep starts its own")
    launchers = [o.removeprefix("hydra/launcher=") for o in overrides if o.startswith("hydra/launcher=")]
    runs = (settings.compose(cell) for cell in (grammar.product(overrides) if multirun else [overrides]))
    memory.check(runs, *launchers[:1])


sys.modules[__name__].__class__ = resnet_repro.Verb

if __name__ == "__main__":
    # Imported by name, so that a job in another process finds the same functions under the same name.
    from resnet_repro.train import cli as run_cli

    run_cli()
