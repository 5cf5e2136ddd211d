"""What a run is: its settings with their types and ranges, and its name.

`run_id(run)` names a run by a hash of the science in it (network, data, optimisation, probes, seed, protocol), never
of the machine, paths, threads or logger. How settings are written and read: settings.py; what is refused: rules.py.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from resnet_repro.errors import UserError
from resnet_repro.families import work
from resnet_repro.probes import PROBES

PROTOCOL = 1
"""Raised when an unchanged config would train differently; tests/training/golden.csv guards it."""


class ConfigError(UserError):
    """A setting that is refused: names the value, the rule and the remedy."""


def setting(default: Any, help: str) -> Any:
    """A field with its meaning, which `train --help` and `--cfg job` show."""
    return field(default=default, metadata={"help": help})


def choice(default: str, *others: str, help: str) -> Any:
    """A text field that takes one of the named values."""
    return field(default=default, metadata={"choices": (default, *others), "help": help})


def choices(part: type, name: str) -> tuple[str, ...]:
    """The values that a field of a part of `Run` can take."""
    return next(leaf.metadata["choices"] for leaf in fields(part) if leaf.name == name)


def number(default: float | int | None, low: float = -math.inf, high: float = math.inf, *, help: str) -> Any:
    """A finite number field with low <= value <= high; None stays None where the type allows it."""
    return field(default=default, metadata={"low": low, "high": high, "help": help})


def added(version: str, later: Any) -> Any:
    """A field that came with this version, after 0.1.0: at its default it is no part of `run_id`.

    The default is what runs did before there was the field, so it never changes (tests/test_identity.py).
    """
    later.metadata = {**later.metadata, "added": version}
    return later


@dataclass
class Model:
    """The network (He et al. 2015, sec. 4.2). `residual` is the whole difference between plain and residual."""

    depth: int = number(20, low=8, help="weighted layers, 6n + 2; with bottlenecks 9n + 2; imagenet: 18, 34, 50, ...")
    residual: bool = setting(True, help="true: y = F(x) + x in every block; false: the plain net, y = F(x)")
    width: int = number(16, low=1, help="channels of the first stage; the others have 2x and 4x")
    shortcut: str = choice(
        "A", "B", "C", help="where the shape changes, A: zeros, B: projections; C: projections everywhere"
    )
    shortcut_subsample: str = choice("slice", "avgpool", help="shortcut A: every second pixel, or their mean")
    shortcut_pad: str = choice("append", "split", help="shortcut A: the zero channels behind, or on both sides")
    shortcut_scale: float = number(1.0, low=-1000, high=1000, help="λ in y = F(x) + λ x")
    scale_on: str = choice("all", "identity", help="λ on every shortcut, or not where the shape changes")
    norm: str = choice(
        "batch", "layer", "instance", "group", "group_ws", "none", "batch_noisy", "none_noisy",
        help="normalisation after each convolution; group_ws: of standardised weights; noisy: and noise behind it",
    )  # fmt: skip
    ghost_batch: int | None = number(None, low=2, help="images per batch-norm batch; null: the whole batch")
    init: str = choice(
        "he", "xavier", "lecun", "torch", "he_border", "orthogonal", "delta_orthogonal", "fixup",
        help="initial convolution weights; he_border: He's, corrected for zero padding; torch: PyTorch's",
    )  # fmt: skip
    fan: str = choice("fan_out", "fan_in", help="by which connections init=he and fixup scale; the others ignore it")
    branch_scale: str = added(
        "0.2",
        choice(
            "one", "half", "rsqrt_blocks", "skipinit", "learned",
            help="s in y = s F(x) + λ x; skipinit: learned from 0; learned: from 1",
        ),
    )  # fmt: skip
    family: str = added(
        "0.2",
        choice(
            "cifar", "imagenet", "dense",
            help="the form of He et al. 2015, sec. 4.2, or that of its table 1; dense: DenseNet, as model=densenet",
        ),
    )  # fmt: skip
    block: str = added(
        "0.2",
        choice(
            "basic", "bottleneck", "one_layer", "three_layer",
            help="two 3x3 convolutions; those of 1x1, 3x3, 1x1; one or three of 3x3",
        ),
    )  # fmt: skip
    stride_on: str = added("0.2", choice("3x3", "1x1", help="bottleneck: the convolution that takes the stride"))
    order: str = added(
        "0.2",
        choice(
            "original", "bn_after_addition", "relu_before_addition", "relu_preactivation", "full_preactivation",
            help="of norm, nonlinearity and addition in a block (He et al. 2016, fig. 4)",
        ),
    )  # fmt: skip
    activation: str = added("0.2", choice("relu", "tanh", "sigmoid", help="the nonlinearity"))
    starts_as: int | None = added(
        "0.2", number(None, low=8, help="starts as the net of so many layers, further blocks as identities; null: not")
    )
    norm_momentum: float = added(
        "0.2", number(0.1, low=0, high=1, help="how far batch norm's running statistics move in a step")
    )
    zero_init_residual: bool = added("0.2", setting(False, help="true: every residual block starts as its shortcut"))
    long_skips: bool = added(
        "0.2", setting(False, help="true: the last layer takes the pooled outputs of all stages, not of the last alone")
    )
    growth: int = added("0.2", number(12, low=1, help="channels that a layer of a DenseNet puts behind its inputs"))


@dataclass
class Data:
    """The data set, what is done to its pixels, and in which order batches come."""

    name: str = choice("digits", "cifar10", "cifar100", "folder", help="the images; folder: your own")
    title: str = setting("digits", help="the data set's name in every table and figure")
    split: str = choice("full", "45k", help="45k: a tenth of the training images is held out for selection")
    normalize: str = choice("channel", "pixel_mean", "none", help="channel mean and deviation, or the mean image")
    pad: str = choice("before", "after", help="zero padding before or after normalisation")
    crop_padding: int = number(4, low=0, high=32, help="pixels added on each side before a random crop")
    flip: bool = setting(True, help="random horizontal flips")
    last_batch: str = choice("drop", "keep", help="an epoch's last, smaller batch")
    crop: str = added(
        "0.2",
        choice("padded", "resized", help="random crops of the padded image, or of random area and shape, resized"),
    )
    size: int | None = added(
        "0.2",
        number(
            None,
            low=8,
            help="pixels on a side of what the net sees (larger images are averaged down); null: the image's",
        ),
    )
    resize: int | None = added(
        "0.2", number(None, low=8, help="crop=resized: the shorter side in evaluation, before the central crop of size")
    )
    stream: bool = added("0.2", setting(False, help="true: a folder's images are read when needed, not held in memory"))
    images: int | None = added(
        "0.2", number(None, low=1, help="training images, as many of each class, drawn by the seed; null: all")
    )
    label_noise: float = added(
        "0.2", number(0.0, low=0, high=1, help="share of training labels that are another class, drawn by the seed")
    )
    teacher: int | None = added(
        "0.2",
        number(None, low=8, help="labels are what a trained plain net of so many layers answers; null: the true ones"),
    )


@dataclass
class Optim:
    """SGD with momentum and a step schedule; every count is in steps, the batch is global."""

    lr: float = number(0.1, low=0, help="learning rate")
    momentum: float = number(0.9, low=0, high=1, help="of SGD")
    nesterov: bool = setting(False, help="Nesterov's momentum")
    weight_decay: float = number(1e-4, low=0, help="L2 penalty")
    decay_on: str = choice("all", "weights", help="weights: convolution and linear weights only")
    batch: int = number(128, low=1, help="images per step, over all devices")
    steps: int = number(64000, low=0, help="training steps")
    milestones: list[int] = field(
        default_factory=lambda: [32000, 48000], metadata={"help": "steps at which the learning rate falls"}
    )
    gamma: float = number(0.1, low=0, high=1, help="the learning rate is multiplied by it at each milestone")
    warmup: str = choice("none", "steps", "error", help="a lower rate at first: a number of steps, or until it learns")
    warmup_lr: float = number(0.01, low=0, help="learning rate of the warm-up")
    warmup_steps: int = number(400, low=0, help="its length; with warmup=error the most steps")
    warmup_error: float = number(80.0, low=0, high=100, help="training error in percent that ends warmup=error")
    warmup_every: int | None = added(
        "0.2", number(None, low=1, help="steps between looks at that error; null: at each point of the curve")
    )
    clip: float | None = number(None, low=0, help="largest gradient norm; null: off")
    precision: str = choice("fp32", "tf32", "bf16", help="of products and convolutions")


@dataclass
class Probes:
    """What is measured on the way, in steps."""

    curve_every: int = number(400, low=1, help="steps per point of a learning curve")
    eval_every: int = number(2000, low=0, help="steps between measurements of the test error; 0: at the end only")
    train_error_images: int | None = added(
        "0.2",
        number(None, low=1, help="training images for the final training errors, one choice for all runs; null: all"),
    )


@dataclass
class Measure:
    """What else is measured, and what is kept. It alters no training, so none of it is part of what a run is."""

    probes: list[str] = field(
        default_factory=list,
        metadata={"choices": tuple(PROBES), "help": "what is measured at the start, every so often, and at the end"},
    )
    every: int = number(0, low=0, help="steps between looks of these probes; 0: at the start and at the end only")
    keep: str = choice("none", "net", help="net: the trained network stays in the run's folder, as net.safetensors")


@dataclass
class Env:
    """Where and how a run is computed. None of it is part of what a run is."""

    runs_dir: str = setting("runs", help="where each run's folder lies")
    data_dir: str = setting("data", help="where data sets lie, or your own images")
    download: bool = setting(True, help="download a data set that is not there")
    device: str = choice("auto", "cpu", "cuda", help="auto: a GPU if there is one")
    devices: int = number(
        1, low=1, high=1024, help="devices that share a batch; the numbers are those of one, up to rounding"
    )
    engine: str = choice(
        "auto", "eager", "graph",
        help="graph: the step as a CUDA graph, for packs of runs on one GPU; auto: so where it can be, else eager",
    )  # fmt: skip
    compile: bool = setting(False, help="the blocks through torch.compile: for a GPU; on a CPU it is slower")
    threads: int = number(1, low=1, high=1024, help="CPU threads per device")
    workers: int = number(4, low=0, high=1024, help="processes per device that decode images, with data.stream=true")
    channels_last: bool = setting(True, help="memory layout of the images; faster on a CPU")
    checkpoint_seconds: float = number(15.0, low=0, help="at least so long between checkpoints")
    wandb: str = choice(
        "auto", "offline", "online", "disabled",
        help="the mirror in Weights & Biases; auto: as WANDB_MODE says, else offline",
    )  # fmt: skip
    wandb_project: str | None = setting(None, help="the project there; null: WANDB_PROJECT, else resnet_repro")
    wandb_system: bool = setting(
        False, help="W&B's system metrics (GPU, CPU, memory), of the machine on which the sweep was started"
    )
    wandb_artifact: bool = setting(
        False, help="record, points and, where kept, the trained network of a finished run as an artifact there"
    )
    group: str = setting("single", help="groups the runs there; a sweep puts its experiment here")
    claims: list[str] = field(
        default_factory=list, metadata={"help": "digests of the claims that the run serves; a sweep puts them here"}
    )


@dataclass
class Trainer:
    """What Lightning's Trainer is given to watch a run with, by Lightning's names. No part of what a run is."""

    callbacks: list[Any] = field(
        default_factory=list, metadata={"help": "Lightning callbacks, each {_target_: package.Class, argument: value}"}
    )
    logger: Any = field(
        default=None, metadata={"help": "a Lightning logger of the curves, {_target_: ...}, or a list of them"}
    )
    profiler: Any = field(
        default=None, metadata={"help": "simple, advanced, pytorch or {_target_: ...}; its report: in the run's folder"}
    )
    num_nodes: int = number(1, low=1, high=1024, help="nodes over which env.devices are spread")
    detect_anomaly: bool = setting(False, "the step whose backward pass makes a NaN ends the run with its traceback")
    enable_progress_bar: bool = setting(False, "Lightning's bar, of one interval of the curves at a time")
    enable_model_summary: bool = setting(False, "Lightning's table of layers and parameters, at the start")


@dataclass
class Run:
    """One training run."""

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    optim: Optim = field(default_factory=Optim)
    probes: Probes = field(default_factory=Probes)
    # torch's generator ignores higher bits
    seed: int = number(0, low=0, high=2**32 - 1, help="of initial weights, batch order, crops and flips")
    measure: Measure = field(default_factory=Measure)
    env: Env = field(default_factory=Env)
    trainer: Trainer = field(default_factory=Trainer)


CIRCUMSTANCES = ("measure", "env", "trainer")
"""The parts of a run that say what else is measured, and where and how it is computed; none of its numbers changes with
them but by rounding."""

ConfigStore.instance().store(name="run_schema", node=Run)


def science(run: Run) -> dict[str, Any]:
    """The part of a run that decides its numbers, as nested plain values; what `run_id` hashes.

    A field `added` later is in it only where it differs from its default, so that runs made before keep their names.
    """
    parts = {k: _lasting(v) if is_dataclass(v) else v for k, v in vars(run).items() if k not in CIRCUMSTANCES}
    return {**parts, "protocol": PROTOCOL}


def _lasting(part: Any) -> dict[str, Any]:
    kept = dict(vars(part))
    for leaf in fields(part):
        if "added" in leaf.metadata and kept[leaf.name] == leaf.default:
            del kept[leaf.name]
    return kept


def later_defaults() -> dict[str, Any]:
    """The column and default of each setting `added` after 0.1.0; reports name one only where a run sets it."""
    parts = (run_field.default_factory for run_field in fields(Run) if callable(run_field.default_factory))
    leaves = [leaf for part in parts for leaf in fields(part()) if "added" in leaf.metadata]
    return {leaf.name: leaf.default for leaf in leaves}


def run_id(run: Run) -> str:
    """`resnet56-s3-<10 hex digits of the SHA-256 of science(run)>`."""
    digest = hashlib.sha256(json.dumps(science(run), sort_keys=True).encode()).hexdigest()
    return f"{model_name(run)}{run.model.depth}-s{run.seed}-{digest[:10]}"


def model_name(run: Run) -> str:
    """`resnet`, `plain` or `densenet`, as written in tables and figures."""
    if run.model.family == "dense":
        return "densenet"
    return "resnet" if run.model.residual else "plain"


def columns(run: Run) -> dict[str, Any]:
    """The run's settings as one flat row of a table: `model`, `depth`, `data`, `lr`, `seed`, ..."""
    row: dict[str, Any] = {"model": model_name(run), **vars(run.model)}
    del row["residual"]
    data = dict(vars(run.data))
    row |= {"data": data.pop("title")} | {k: v for k, v in data.items() if k != "name"}
    row |= vars(run.optim) | vars(run.probes) | {"seed": run.seed}
    return {k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()}


SIDES = {"digits": 8, "cifar10": 32, "cifar100": 32}
"""Pixels on a side of the images of a data set."""
USUAL_SIDE = 32
"""What a folder's images are taken to have where data.size does not say it; only costs depend on it."""
PER_OUTPUT = 200
"""Multiply-adds that take as long as what is done to one output of a convolution beside it: norm, nonlinearity, their
gradients, memory. Fitted on one CPU core over widths 4 to 64, 8 to 64 pixels and both families: seconds per cost stay
within a factor of 2, per multiply-add of 16."""


def cost(run: Run) -> float:
    """Relative training cost, from the shapes of the network and its images (families.work): orders and weighs runs."""
    return cost_of(vars(run.model), side_of(run.data.name, run.data.size), run.optim.batch, run.optim.steps)


def engine_of(run: Run, gpu: bool) -> str:
    """What takes the run's steps, `eager` or `graph`; gpu: whether on a CUDA device.

    The bits are the same, so env.engine=auto is the faster one that can be had: a graph holds its batches, so they are
    not read from files, and its gradients, so they are not those of several devices.
    """
    if run.env.engine != "auto":
        return run.env.engine
    return "graph" if gpu and run.env.devices == 1 and not run.data.stream else "eager"


def side_of(name: str, size: Any) -> int:
    """Pixels on a side of what the network sees of a data set; size: data.size."""
    return int(size) if size else SIDES.get(name, USUAL_SIDE)


def cost_of(model: Mapping[str, Any], side: int, batch: float, steps: float) -> float:
    """`cost` from the settings of the network by their names and the pixels on a side of an image."""
    names = ("family", "depth", "block", "stride_on", "width", "residual", "shortcut", "growth")
    one = work(**{name: model[name] for name in names}, side=side)
    return (one.multiply_adds + PER_OUTPUT * one.outputs) * batch * max(steps, 1)
