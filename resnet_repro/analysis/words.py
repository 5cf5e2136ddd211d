"""The words of tables, captions and the article for settings, their values and what is measured."""

from collections.abc import Iterable, Mapping
from typing import Any

from resnet_repro.analysis.frames import text
from resnet_repro.metrics import QUANTITIES

SETTINGS = {
    "model": "network",
    "shortcut_subsample": "subsampling in the shortcut",
    "shortcut_pad": "zero channels of the shortcut",
    "shortcut_scale": "λ",
    "scale_on": "shortcuts with λ",
    "ghost_batch": "images per batch-norm batch",
    "init": "initialisation",
    "fan": "initialisation by",
    "data": "data set",
    "split": "training images",
    "normalize": "pixels normalised by",
    "pad": "padding and normalisation",
    "crop_padding": "padding of the random crop",
    "flip": "random flips",
    "last_batch": "last partial batch",
    "crop": "random crops",
    "size": "pixels on a side",
    "resize": "shorter side in evaluation, pixels",
    "stream": "images read when needed",
    "images": "number of training images",
    "label_noise": "label noise",
    "teacher": "layers of the plain net whose answers are the labels",
    "family": "form of the network",
    "block": "convolutions of a block",
    "stride_on": "stride of a bottleneck on",
    "order": "order within a block",
    "activation": "nonlinearity",
    "branch_scale": "branch scale",
    "starts_as": "starting depth",
    "norm_momentum": "momentum of running statistics",
    "zero_init_residual": "branches start at 0",
    "long_skips": "long skips",
    "growth": "growth",
    "lr": "learning rate",
    "nesterov": "Nesterov momentum",
    "weight_decay": "weight decay",
    "decay_on": "weight decay on",
    "batch": "batch size",
    "milestones": "learning rate lowered at steps",
    "gamma": "and multiplied by",
    "warmup": "warm-up",
    "warmup_lr": "warm-up learning rate",
    "warmup_steps": "warm-up steps",
    "warmup_error": "warm-up until training error, %",
    "warmup_every": "steps between looks at that error",
    "clip": "gradient norm clipped at",
    "curve_every": "steps between curve points",
    "eval_every": "steps between test errors",
    "train_error_images": "images for the final training errors",
}
"""A setting where its name alone does not say it."""

VALUES: dict[str, dict[Any, str]] = {
    "model": {"plain": "plain net", "resnet": "ResNet", "densenet": "DenseNet"},
    "split": {"full": "all", "45k": "nine tenths, the rest for selection"},
    "normalize": {"channel": "channel mean and deviation", "pixel_mean": "per-pixel mean", "none": "nothing"},
    "crop": {"padded": "of the padded image", "resized": "of random area and shape, resized"},
    "pad": {"before": "padded before", "after": "padded after"},
    "warmup": {"steps": "for a number of steps", "error": "until the training error falls"},
    "init": {
        "he": "He",
        "xavier": "Xavier",
        "lecun": "LeCun",
        "torch": "PyTorch's",
        "he_border": "He, corrected for the border",
        "orthogonal": "orthogonal",
        "delta_orthogonal": "delta-orthogonal",
        "fixup": "Fixup",
    },
    "branch_scale": {
        "one": "1",
        "half": "0.5",
        "rsqrt_blocks": "1/√blocks",
        "skipinit": "learned from 0 (SkipInit)",
        "learned": "learned from 1",
    },
    "activation": {"relu": "ReLU"},
    "order": {
        "bn_after_addition": "batch norm after addition",
        "relu_before_addition": "ReLU before addition",
        "relu_preactivation": "ReLU-only pre-activation",
        "full_preactivation": "full pre-activation",
    },
    "shortcut_subsample": {"slice": "every second pixel", "avgpool": "average pooling"},
    "block": {"one_layer": "3x3", "basic": "3x3, 3x3", "three_layer": "3x3, 3x3, 3x3", "bottleneck": "1x1, 3x3, 1x1"},
    "norm": {"group_ws": "group, standardised weights", "batch_noisy": "batch and noise", "none_noisy": "none, noise"},
    "fan": {"fan_out": "fan-out", "fan_in": "fan-in"},
    "starts_as": {None: "its own"},
    "images": {None: "all"},
}
"""A value where it alone does not say it."""

NORMS = {
    "batch": "batch norm",
    "layer": "layer norm",
    "instance": "instance norm",
    "group": "group norm",
    "group_ws": "group norm + WS",
    "none": "no norm",
    "batch_noisy": "batch norm and noise",
    "none_noisy": "no norm, noise",
}


def setting(name: str) -> str:
    """The head of a setting's column: `learning rate`, `λ`, `depth`."""
    return SETTINGS.get(name, name.replace("_", " "))


def value(name: str, what: Any) -> str:
    """A setting's value below that head: `plain net`, `0.1`, `off`."""
    if isinstance(what, bool):
        return "yes" if what else "no"
    return VALUES.get(name, {}).get(what) or text(what)


def named(name: str, what: Any) -> str:
    """A setting's value where no head says of what: `plain net`, `depth 56`, `λ = 0.5`, `learning rate 0.1`."""
    if name == "norm":
        return NORMS[what]
    if name == "model":
        return value(name, what)
    values = [value(name, w) for w in what] if isinstance(what, list) else [value(name, what)]
    return f"{setting(name)} {'= ' * (setting(name) == 'λ')}{' or '.join(values)}"


def listed(settings: Mapping[str, Any]) -> str:
    """Settings one after the other: `plain net, depth 56`."""
    return ", ".join(named(name, what) for name, what in settings.items())


def difference(of: Mapping[str, Any], minus: Mapping[str, Any] | None) -> str:
    """The runs that a claim is about, what they share first: `plain net, depth 56 minus depth 20`."""
    if minus is None:
        return listed(of)
    shared = {k: v for k, v in of.items() if k in minus and minus[k] == v}
    left, right = ({k: v for k, v in side.items() if k not in shared} for side in (of, minus))
    between = "" if not shared else ", " if len(left) == len(right) == 1 else ": "
    return f"{listed(shared)}{between}{listed(left) or 'the others'} minus {listed(right) or 'the others'}"


def quantity(metric: str) -> str:
    """What is measured, in short: `training error, clean`, `share of failed seeds`."""
    q = QUANTITIES[metric]
    if q.kind == "share":
        return f"share of {q.name} seeds"
    return ", ".join(filter(None, (q.head, q.subhead)))


def enumerated(parts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


OUTCOMES = {
    "diverged": "the loss was no longer a number",
    "stuck": "training error at chance at the end",
    "failed": "test error above 20 %",
}
"""What is said of a run in a table, and what it means."""
