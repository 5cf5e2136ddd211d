"""Whether this machine computes what it should, and how well: `python -m resnet_repro.doctor`, or `make doctor`.

Overrides say of which run, for example `env.runs_dir=/scratch/runs`. Ends with code 1 where something is wrong.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable
from importlib.metadata import requires, version
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from packaging.requirements import Requirement

from resnet_repro import machine, mirror, records, settings
from resnet_repro.config import Model, Run, choices
from resnet_repro.places import command
from resnet_repro.probes import numerics

SHOWN = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "wandb", "numpy", "pandas", "matplotlib")
WIDTH = 80
GIGABYTE = 1e9


class Finding(NamedTuple):
    """What was looked at, the verdict (`ok`, `warning`, `wrong`), what was found, and what to do about it."""

    what: str
    verdict: str
    says: str
    remedy: str = ""


def versions(_: Run) -> Finding:
    """Python and the packages, beside what pyproject.toml allows."""
    there = f"python {sys.version.split()[0]}, " + ", ".join(f"{name} {version(name)}" for name in SHOWN)
    needed = [Requirement(line) for line in requires("resnet-repro") or []]
    needed = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    other = [f"{r.name} {version(r.name)} (not {r.specifier})" for r in needed if version(r.name) not in r.specifier]
    if other:
        return Finding("versions", "wrong", ", ".join(other), "run make clean setup")
    return Finding("versions", "ok", there)


def device(run: Run) -> Finding:
    """The GPU or CPU that a run would take, and its threads."""
    gpus, cores, threads = machine.visible_gpus(), machine.cores(), run.env.threads
    says = f"{machine.device()}; {len(gpus)} GPUs, {cores} cores, env.threads {threads}"
    if gpus and _device(run) == "cpu" and run.env.device != "cpu":
        return Finding("device", "warning", f"{says}; torch {version('torch')} sees no GPU", "install torch for CUDA")
    if threads > cores:
        return Finding("device", "warning", says, f"set env.threads to at most {cores}")
    return Finding("device", "ok", says)


def locks(run: Run) -> Finding:
    """Whether a lock in runs_dir keeps others out: it is what keeps two processes from training one run."""
    place = Path(run.env.runs_dir).expanduser() / f".doctor-{os.getpid()}"
    remedy = "set env.runs_dir to a folder on a file system with locks that you may write to"
    try:
        with records.lock(place):
            held = records.is_locked(place)
        freed = not records.is_locked(place)
    except OSError as error:
        return Finding("locks", "wrong", f"{place.parent}: {error.strerror}", remedy)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if held and freed:
        return Finding("locks", "ok", f"{place.parent}: a lock keeps others out until it is freed")
    return Finding("locks", "wrong", f"{place.parent}: a lock {'stays' if held else 'keeps nobody out'}", remedy)


def disk(run: Run) -> Finding:
    """Free space in runs_dir: a run takes up to 20 MB with its checkpoint."""
    place = Path(run.env.runs_dir).expanduser().absolute()
    there = next(path for path in (place, *place.parents) if path.exists())
    free = shutil.disk_usage(there).free / GIGABYTE
    verdict = "ok" if free > 2 else "warning" if free > 0.1 else "wrong"
    remedy = "" if free > 2 else "free some space, or set env.runs_dir to a folder elsewhere"
    return Finding("disk", verdict, f"{free:.1f} GB free in {there}", remedy)


def wandb(run: Run) -> Finding:
    """The mirror's mode, and whether there is a key, which is not shown."""
    key = "a key is there" if _has_key() else "no key"
    mode = mirror.mode(run.env)
    if mode == "online" and not _has_key():
        return Finding("W&B", "wrong", f"{mode}, {key}", "run wandb login, or set env.wandb=offline")
    return Finding("W&B", "ok", f"{mode}, {key}")


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc(os.environ.get("NETRC")).authenticators("api.wandb.ai") is not None
    except (OSError, NetrcParseError):
        return False


def bf16(run: Run) -> Finding:
    """How much faster or slower a step is in bf16 than in fp32."""
    factor = numerics.bf16_per_fp32(_device(run))
    if factor > 1:
        return Finding("bf16", "warning", f"takes {factor:.1f} times as long as fp32 here", "use optim.precision=fp32")
    return Finding("bf16", "ok", f"takes {factor:.2f} of the time of fp32 here")


def numbers(run: Run) -> list[Finding]:
    """One training step of each kind of network, every layer of it beside float64."""
    outcomes = numerics.check(_cases(_device(run)))
    wrong = [o for o in outcomes if not o.right]
    findings = [
        Finding(
            "numbers",
            "wrong",
            f"{o.case}: {_deviation(o)}",
            f"set env.channels_last={str(not o.case.channels_last).lower()}, or install another torch and report it",
        )
        for o in wrong
    ]
    worst = max((o.worst.relative for o in outcomes if o.worst is not None and o.right), default=0.0)
    right = (
        f"{len(outcomes) - len(wrong)} of {len(outcomes)} networks: every layer of a step is right within {worst:.0e}"
    )
    return [Finding("numbers", "wrong" if wrong else "ok", right), *findings]


def _deviation(outcome: numerics.Outcome) -> str:
    worst = outcome.worst
    return outcome.crash if worst is None else f"{worst.result} of {worst.layer} deviates by {worst.relative:.1e}"


def _cases(device: str) -> list[numerics.Case]:
    """Every kind of network, small and usual widths, on maps of 8, 4, 2, in both layouts; one of 32, others of 64."""
    small: dict[str, Any] = {"depth": 8, "in_channels": 1, "width": 4}
    bottleneck = small | {"depth": 11, "block": "bottleneck"}
    nets = [small | {"residual": False}, small | {"shortcut_subsample": "avgpool"}]
    nets += [small | {"shortcut": shortcut, "width": width} for shortcut in "ABC" for width in (2, 4, 8, 16)]
    nets += [small | {"norm": norm} for norm in choices(Model, "norm")[1:]] + [small | {"ghost_batch": 64}]
    nets += [small | {"shortcut_pad": "split"}, bottleneck | {"stride_on": "1x1"}]
    nets += [bottleneck | {"order": order} for order in choices(Model, "order")]
    nets += [small | {"activation": activation} for activation in choices(Model, "activation")]
    nets += [small | {"block": "one_layer"}, small | {"depth": 11, "block": "three_layer"}]
    nets += [small | {"branch_scale": scale} for scale in choices(Model, "branch_scale")]
    cases = [numerics.Case(net, channels_last=layout, device=device) for net in nets for layout in (True, False)]
    cases += [numerics.Case(small | {"depth": 10, "growth": 4}, "dense", device=device)]
    large: list[dict[str, Any]] = [{"depth": 18, "width": 8}, {"depth": 50, "width": 4, "block": "bottleneck"}]
    cases += [numerics.Case(net, "imagenet", 64, 32, device=device) for net in large]
    return [*cases, numerics.Case({"depth": 8}, size=32, device=device)]


def _device(run: Run) -> str:
    import torch

    return "cuda" if run.env.device != "cpu" and torch.cuda.is_available() else "cpu"


LOOKS: tuple[Callable[[Run], Finding | list[Finding]], ...] = (versions, device, locks, disk, wandb, bf16, numbers)


def shown(finding: Finding) -> str:
    """The finding in lines of at most 80 columns."""
    head = f"{finding.verdict:<8} {finding.what:<9} "
    parts = [finding.says, *([f"-> {finding.remedy}"] if finding.remedy else [])]
    lines = [line for part in parts for line in textwrap.wrap(part, WIDTH - len(head), break_on_hyphens=False)]
    return "\n".join((head if i == 0 else " " * len(head)) + line for i, line in enumerate(lines))


def look(run: Run, looks: Iterable[Callable[[Run], Finding | list[Finding]]] = LOOKS) -> int:
    """Prints every finding as soon as it is there; returns the exit code."""
    verdicts = []
    for one in looks:
        found = one(run)
        for finding in [found] if isinstance(found, Finding) else found:
            print(shown(finding), flush=True)
            verdicts.append(finding.verdict)
    wrong, warnings = verdicts.count("wrong"), verdicts.count("warning")
    print(
        f"\n{wrong} wrong, {warnings} warning{'s' * (warnings != 1)}" + ("" if wrong or warnings else ": all is well")
    )
    return 1 if wrong else 0


def main() -> int:
    return look(settings.compose(sys.argv[1:]))


def cli() -> NoReturn:
    """The command, `resnet-doctor`."""
    command(main)


if __name__ == "__main__":
    cli()
