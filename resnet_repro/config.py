"""What a run is: its settings with their types, ranges and rules, and its name.

`run_id(run)` names a run by a hash of the science in it (network, data, optimisation, probes, seed, protocol), never
of the machine, paths, threads or logger. How settings are written and read: settings.py.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from hydra.core.config_store import ConfigStore

PROTOCOL = 1
"""Raised when an unchanged config would train differently; tests/training/golden.csv guards it."""


class ConfigError(ValueError):
    """A setting that is refused: names the value, the rule and the remedy."""


def choice(default: str, *others: str) -> Any:
    """A text field that takes one of the named values."""
    return field(default=default, metadata={"choices": (default, *others)})


def number(default: float | int | None, low: float = -math.inf, high: float = math.inf) -> Any:
    """A finite number field with low <= value <= high; None stays None where the type allows it."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass
class Model:
    """The network (He et al. 2015, sec. 4.2). `residual` is the whole difference between plain and residual."""

    depth: int = number(20, low=8)  # weighted layers, 6n + 2
    residual: bool = True
    width: int = number(16, low=1)  # channels of the first stage; the others have 2x and 4x
    shortcut: str = choice("A", "B", "C")
    shortcut_subsample: str = choice("slice", "avgpool")  # option A only
    shortcut_pad: str = choice("append", "split")  # option A only: where the zero channels go
    shortcut_scale: float = number(1.0, low=-1000, high=1000)  # λ in y = F(x) + λ x
    scale_on: str = choice("all", "identity")  # λ on every shortcut, or not where the shape changes
    norm: str = choice("batch", "group", "none")
    ghost_batch: int | None = number(None, low=2)  # images per batch-norm batch; null: the whole batch
    init: str = choice("he", "xavier", "lecun", "torch")
    fan: str = choice("fan_out", "fan_in")


@dataclass
class Data:
    """The data set, what is done to its pixels, and in which order batches come."""

    name: str = choice("digits", "cifar10", "cifar100", "folder")
    title: str = "digits"  # the name in every table and figure
    split: str = choice("full", "45k")  # 45k: a tenth of the training images is held out for selection
    normalize: str = choice("channel", "pixel_mean", "none")
    pad: str = choice("before", "after")  # zero padding before or after normalisation
    crop_padding: int = number(4, low=0, high=32)  # pixels on each side, then a random crop
    flip: bool = True
    last_batch: str = choice("drop", "keep")


@dataclass
class Optim:
    """SGD with momentum and a step schedule; every count is in steps, the batch is global."""

    lr: float = number(0.1, low=0)
    momentum: float = number(0.9, low=0, high=1)
    nesterov: bool = False
    weight_decay: float = number(1e-4, low=0)
    decay_on: str = choice("all", "weights")  # weights: convolution and linear weights only
    batch: int = number(128, low=1)
    steps: int = number(64000, low=0)
    milestones: list[int] = field(default_factory=lambda: [32000, 48000])
    gamma: float = number(0.1, low=0, high=1)  # lr is multiplied by it at each milestone
    warmup: str = choice("none", "steps", "error")
    warmup_lr: float = number(0.01, low=0)
    warmup_steps: int = number(400, low=0)  # the length, or with `error` the cap
    warmup_error: float = number(80.0, low=0, high=100)  # percent; ends the warm-up of kind `error`
    clip: float | None = number(None, low=0)  # gradient norm; null: off
    precision: str = choice("fp32", "tf32", "bf16")


@dataclass
class Probes:
    """What is measured on the way, in steps."""

    curve_every: int = number(400, low=1)  # one curve point per this many steps
    eval_every: int = number(2000, low=0)  # test error; 0: at the end only


@dataclass
class Env:
    """Where and how a run is computed. None of it is part of what a run is."""

    runs_dir: str = "runs"
    data_dir: str = "data"
    download: bool = True
    device: str = choice("auto", "cpu", "cuda")
    devices: int = number(1, low=1)  # the batch is split over them; the numbers are those of one, up to rounding
    engine: str = choice("eager", "graph")  # graph: the step as a CUDA graph, for packs of runs on one GPU
    compile: bool = False  # the blocks through torch.compile: for a GPU; on a CPU it is slower
    threads: int = number(1, low=1)
    channels_last: bool = True
    checkpoint_seconds: float = number(15.0, low=0)
    wandb: str = choice("offline", "online", "disabled")
    wandb_project: str = "resnet_repro"
    group: str = "single"  # the experiment's id; groups the runs in W&B


@dataclass
class Run:
    """One training run."""

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    optim: Optim = field(default_factory=Optim)
    probes: Probes = field(default_factory=Probes)
    seed: int = number(0, low=0, high=2**32 - 1)  # torch's generator ignores higher bits
    env: Env = field(default_factory=Env)


ConfigStore.instance().store(name="run_schema", node=Run)


def science(run: Run) -> dict[str, Any]:
    """The part of a run that decides its numbers, as nested plain values; what `run_id` hashes."""
    return {**{k: v for k, v in asdict(run).items() if k != "env"}, "protocol": PROTOCOL}


def run_id(run: Run) -> str:
    """`resnet56-s3-<10 hex digits of the SHA-256 of science(run)>`."""
    digest = hashlib.sha256(json.dumps(science(run), sort_keys=True).encode()).hexdigest()
    return f"{model_name(run)}{run.model.depth}-s{run.seed}-{digest[:10]}"


def model_name(run: Run) -> str:
    """`resnet` or `plain`, as written in tables and figures."""
    return "resnet" if run.model.residual else "plain"


def columns(run: Run) -> dict[str, Any]:
    """The run's settings as one flat row of a table: `model`, `depth`, `data`, `lr`, `seed`, ..."""
    row: dict[str, Any] = {"model": model_name(run), **asdict(run.model)}
    del row["residual"]
    data = asdict(run.data)
    row |= {"data": data.pop("title")} | {k: v for k, v in data.items() if k != "name"}
    row |= asdict(run.optim) | asdict(run.probes) | {"seed": run.seed}
    return {k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()}


def cost(run: Run) -> float:
    """Relative training cost: layers x channels x images seen. Orders a sweep and weighs its progress."""
    return run.model.depth * run.model.width * run.optim.batch * max(run.optim.steps, 1)


def check(run: Run) -> None:
    """Raises ConfigError for a value out of range, and for settings that make no sense together."""
    for part in (run.model, run.data, run.optim, run.probes, run.env, run):
        _check_fields(part)
    for broken, message in _rules(run):
        if broken:
            raise ConfigError(message)


def _check_fields(part: Any) -> None:
    prefix = "" if isinstance(part, Run) else f"{type(part).__name__.lower()}."
    for leaf in fields(part):
        value, rule = getattr(part, leaf.name), leaf.metadata
        if "choices" in rule and value not in rule["choices"]:
            near = difflib.get_close_matches(str(value), rule["choices"], n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ConfigError(f"{prefix}{leaf.name} must be one of {', '.join(rule['choices'])}, got {value!r}{hint}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{prefix}{leaf.name} must be finite, got {value}")
        if "low" in rule and value is not None and not rule["low"] <= value <= rule["high"]:
            allowed = f"at least {rule['low']}" + ("" if math.isinf(rule["high"]) else f" and at most {rule['high']}")
            raise ConfigError(f"{prefix}{leaf.name} must be {allowed}, got {value}")


def _rules(run: Run) -> Iterable[tuple[bool, str]]:
    """Rules over several settings, each as (is it broken, what to say)."""
    m, d, o, p = run.model, run.data, run.optim, run.probes
    default = Model()
    unused = [
        k for k in ("shortcut", "shortcut_subsample", "shortcut_pad", "shortcut_scale", "scale_on")
        if getattr(m, k) != getattr(default, k)
    ]  # fmt: skip
    yield m.depth % 6 != 2, f"model.depth must be 6n + 2 (20, 32, 44, 56, 110, ...), got {m.depth}"
    yield (
        bool(unused) and not m.residual,
        f"model.{unused[0] if unused else ''}: a plain net has no shortcut; use model=resnet or leave it out",
    )
    yield (
        m.shortcut != "A" and (m.shortcut_subsample, m.shortcut_pad) != ("slice", "append"),
        f"model.shortcut_subsample and model.shortcut_pad apply to shortcut A only, got shortcut {m.shortcut}",
    )
    yield (
        m.norm == "group" and any(channels % min(8, channels) for channels in (m.width, 2 * m.width, 4 * m.width)),
        f"model.norm=group has 8 groups: model.width must be 1, 2, 4 or a multiple of 8, got {m.width}",
    )
    yield (
        m.ghost_batch is not None and m.norm != "batch",
        f"model.ghost_batch={m.ghost_batch} needs model.norm=batch, got norm {m.norm}; set model.ghost_batch=null",
    )
    yield (
        m.ghost_batch is not None and o.batch % (m.ghost_batch or 1) != 0,
        f"model.ghost_batch must divide optim.batch ({o.batch}), got {m.ghost_batch}",
    )
    yield (
        run.env.devices > 1 and (o.batch % run.env.devices != 0 or d.last_batch != "drop"),
        f"env.devices={run.env.devices} must divide optim.batch ({o.batch}) and needs data.last_batch=drop",
    )
    yield (
        m.ghost_batch is not None and (o.batch // run.env.devices) % m.ghost_batch != 0,
        f"model.ghost_batch={m.ghost_batch} must divide the {o.batch // run.env.devices} images of each of the "
        f"{run.env.devices} devices; lower env.devices or model.ghost_batch",
    )
    yield (
        run.env.engine == "graph" and (run.env.devices > 1 or run.env.device == "cpu"),
        f"env.engine=graph is for one CUDA device, got env.devices={run.env.devices} env.device={run.env.device}; "
        "use env.engine=eager",
    )
    yield (
        run.env.compile and run.env.devices > 1,
        f"env.compile=true needs env.devices=1, got {run.env.devices}; leave one of the two out",
    )
    yield d.title.strip() == "", "data.title is empty: name the data set as tables and figures should show it"
    yield (
        o.milestones != sorted(set(o.milestones)) or any(s <= 0 for s in o.milestones),
        f"optim.milestones must be rising positive steps, got {o.milestones}",
    )
    yield (
        p.eval_every % p.curve_every != 0,
        f"probes.eval_every must be a multiple of probes.curve_every ({p.curve_every}), got {p.eval_every}",
    )
    yield o.nesterov and o.momentum == 0, "optim.nesterov=true needs optim.momentum > 0, got 0"
    yield o.clip == 0, "optim.clip=0 would stop all learning; null switches clipping off"
