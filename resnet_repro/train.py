"""Train one run: `python -m resnet_repro.train model=resnet model.depth=56 seed=3`.

With -m, any Hydra sweep through any launcher: `python -m resnet_repro.train -m model=plain,resnet seed=0,1,2`.
A finished run is not trained again; an interrupted one goes on from its checkpoint, to the same bits.
"""

import os
import shlex
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from resnet_repro import config, experiment, mirror, progress, provenance, records


def train(run: config.Run, overrides: Sequence[str] = (), log: bool = False) -> dict[str, Any]:
    """Trains a run to its end, or continues it, and returns its record; a finished run's record is returned at once.

    overrides: what the user asked for, kept in the record. log: send what is printed to the run's log.txt.
    Raises records.Busy while another process trains the same run.
    """
    name = config.run_id(run)
    place = records.folder(run, name)
    with records.lock(place):
        record = records.read(place)
        if record is not None:
            return record
        start = {"run_id": name, "config": config.science(run), "group": run.env.group, "command": command(overrides)}
        records.write_json(place / "run.json", start)
        with _printed_to(place / "log.txt") if log else nullcontext():
            measured = _measured(run, place)
        return records.write(place, {**start, "overrides": list(overrides), **measured})


def command(overrides: Sequence[str]) -> str:
    """What to paste into a shell to train the run with these overrides."""
    return shlex.join(["python", "-m", "resnet_repro.train", *overrides])


def _measured(run: config.Run, place: Path) -> dict[str, Any]:
    """The measured part of a record: status, metrics, provenance."""
    from resnet_repro import data
    from resnet_repro.probes.errors import final_errors
    from resnet_repro.probes.status import status, status_flags
    from resnet_repro.training.fit import fit

    images = data.load(run.data.name, Path(run.env.data_dir), split=run.data.split, download=run.env.download)
    module = fit(run, images, place)
    errors = module.running | final_errors(
        module.net, images, module.engine.transform, batch=run.optim.batch, flip=run.data.flip, seed=run.seed,
        bf16=run.optim.precision == "bf16",
    )  # fmt: skip
    loss = errors.pop("train_loss", None)
    diverged = module.diverged_step is not None
    if diverged:  # its outputs are no numbers
        errors, loss = dict.fromkeys(errors, 100.0), None
    flags = status_flags(errors, images.train_y, diverged)
    machine = provenance.describe(module.engine.device.type)
    return {
        "status": status(flags),
        "status_flags": flags,
        "metrics": {**errors, "train_loss": loss},
        "parameters": sum(p.numel() for p in module.net.parameters()),
        "steps_done": module.step,
        "diverged_step": module.diverged_step,
        "provenance": {**machine, "seconds": round(module.seconds, 3), "data_sha256": images.sha256},
    }


@contextmanager
def _printed_to(path: Path) -> Iterator[None]:
    """Appends what this process prints to a file, also from C; and the traceback if it fails."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with open(path, "ab", buffering=0) as file:
        file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} pid {os.getpid()}\n".encode())
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        except Exception:
            file.write(traceback.format_exc().encode())
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, original in enumerate(kept, start=1):
                os.dup2(original, number)
                os.close(original)


@hydra.main(version_base="1.3", config_path=str(config.CONF), config_name="config")
def main(cfg: DictConfig) -> str:
    """One Hydra job. Returns the run's status."""
    run = config.resolve(cfg)
    overrides = list(HydraConfig.get().overrides.task)
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        return train(run, overrides, log=True)["status"]
    planned = experiment.Planned(run, tuple(overrides), config.run_id(run))
    try:
        with mirror.following([planned]), progress.shown([planned]):
            record = train(run, overrides)
    except _to_be_mended() as error:
        sys.exit(f"error: {error}")
    print(f"{record['status']}: {records.folder(run, planned.id)}/record.json")
    for name, value in record["metrics"].items():
        print(f"  {experiment.METRICS[name]:<70} {'none' if value is None else f'{value:.3f}'}")
    return record["status"]


def _to_be_mended() -> tuple[type[Exception], ...]:
    """Errors that are the user's to mend, told without a traceback. Asked for, and torch imported, only on an error."""
    from resnet_repro.data import MissingData

    return config.ConfigError, records.Busy, MissingData


def cli() -> None:
    """The command line: composes the overrides once before Hydra does, for errors that say what to do."""
    try:
        _check_command_line(sys.argv[1:])
        main()
    except config.ConfigError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        sys.exit(130)


def _check_command_line(arguments: Sequence[str]) -> None:
    multirun = bool({"-m", "--multirun"} & set(arguments))
    if any(a.startswith("-") and a not in ("-m", "--multirun") for a in arguments):
        return  # --help, --cfg, completion: Hydra's own
    overrides = [a for a in arguments if not a.startswith("-")]
    for cell in experiment.product(overrides) if multirun else [overrides]:
        config.compose(cell)


if __name__ == "__main__":
    # Imported by name, so that a job in another process finds the same functions under the same name.
    from resnet_repro.train import cli as run_cli

    run_cli()
