"""What is refused of a run's settings: values out of their range, and settings that make no sense together."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from resnet_repro.config import SIDES, ConfigError, Model, Run, Trainer, side_of
from resnet_repro.families import FAMILIES, NOISY, stages, wrong_depth
from resnet_repro.typed import nearest, shown

LARGEST = 10**9
"""A number of a run at most: larger ones leave the range of fp32, or describe a run that never ends."""
LONGEST = 1000
"""Characters of a text at most."""
TRAINING_IMAGES = {"digits": 1500, "cifar10": 50000, "cifar100": 50000}
"""Images of the full training set; a folder's are known only to who lists them (data.load)."""

PROFILERS = ("simple", "advanced", "pytorch")
DECIDED = {
    "env.device": ["accelerator"],
    "env.devices, which are trained by DDP": ["devices", "strategy", "plugins", "use_distributed_sampler"],
    "optim.precision": ["precision"],
    "optim.clip": ["gradient_clip_val", "gradient_clip_algorithm"],
    "optim.batch, the batch of a whole step": ["accumulate_grad_batches"],
    "optim.steps": ["max_steps", "min_steps", "max_epochs", "min_epochs", "max_time", "fast_dev_run",
                    "overfit_batches", "limit_train_batches"],
    "probes.eval_every": ["val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps",
                          "limit_val_batches", "limit_test_batches", "limit_predict_batches", "inference_mode"],
    "probes.curve_every": ["log_every_n_steps", "reload_dataloaders_every_n_epochs"],
    "env.checkpoint_seconds": ["enable_checkpointing"],
    "env.runs_dir": ["default_root_dir"],
    "model.ghost_batch": ["sync_batchnorm"],
    "the data alone: the same config and seed give the same bits": ["deterministic", "benchmark"],
    "what trainer says: a run with none of it is bare": ["barebones", "model_registry", "enable_autolog_hparams"],
}  # fmt: skip
"""What of Lightning's Trainer would change what is computed, by the setting that decides it here."""


def decided(key: str) -> str:
    """Why an argument of Lightning's Trainer is no setting; empty for every other key."""
    name = key.removeprefix("trainer.")
    by = next((by for by, names in DECIDED.items() if key.startswith("trainer.") and name in names), "")
    return by and f"{key} is decided by {by}; set that instead, or leave it out"


def check(run: Run) -> None:
    """Raises ConfigError for a value out of range, and for settings that make no sense together."""
    for part in (run.model, run.data, run.optim, run.probes, run.measure, run.env, run.trainer, run):
        _check_fields(part)
    _check_targets(run.trainer)
    for broken, message in _rules(run):
        if broken:
            raise ConfigError(message)


def _check_fields(part: Any) -> None:
    prefix = "" if isinstance(part, Run) else f"{type(part).__name__.lower()}."
    for leaf in fields(part):
        value, rule = getattr(part, leaf.name), leaf.metadata
        for one in value if isinstance(value, list) else [value]:
            _check_choice(f"{prefix}{leaf.name}", one, rule.get("choices", (one,)))
        if isinstance(value, str) and not (value.isprintable() and len(value) <= LONGEST):
            raise ConfigError(
                f"{prefix}{leaf.name} must be one line of at most {LONGEST} characters that can be printed, "
                f"got {shown(value)}"
            )
        for one in value if isinstance(value, list) else [value]:
            _check_number(f"{prefix}{leaf.name}", one, rule.get("low", -math.inf), rule.get("high", math.inf))


def _check_targets(trainer: Trainer) -> None:
    """That what Lightning is handed is described as Hydra instantiates it; whether it can be: training/watchers.py."""
    for name in ("callbacks", "logger", "profiler"):
        value = getattr(trainer, name)
        for one in value if isinstance(value, list) else [value]:
            named = (one is None and name != "callbacks") or (name == "profiler" and one in PROFILERS)
            if not named and not (isinstance(one, dict) and isinstance(one.get("_target_"), str)):
                choices = f"{', '.join(PROFILERS)} or " if name == "profiler" else ""
                raise ConfigError(
                    f"trainer.{name} must be {choices}{{_target_: package.Class, argument: value, ...}}"
                    f"{'' if name == 'profiler' else ' or a list of such'}, got {shown(one)}"
                )


def _check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {shown(value)}{nearest(value, choices)}")


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    if not isinstance(value, int | float):
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} must be finite, got {value}")
    if not low <= value <= high:
        allowed = f"at least {low}" + ("" if math.isinf(high) else f" and at most {high}")
        raise ConfigError(f"{name} must be {allowed}, got {shown(value)}")
    if math.isinf(high) and abs(value) > LARGEST:
        raise ConfigError(f"{name} must be at most {LARGEST:,} in size, got {shown(value)}")


def _family_rules(run: Run) -> Iterable[tuple[bool, str]]:
    """What a family of networks has, and what says nothing of it (families.py)."""
    m, default = run.model, Model()
    yield FAMILIES[m.family].stages(m.depth, m.block) is None, f"model.{wrong_depth(m.family, m.depth, m.block)}"
    idle = [f"{k}={getattr(m, k)}" for k in FAMILIES[m.family].without if getattr(m, k) != getattr(default, k)]
    yield bool(idle), f"model.{idle[0] if idle else ''} says nothing of model.family={m.family}; leave it out"
    blocks = [name for name in run.measure.probes if name in ("identity_fit", "lesions", "paths", "shortcut_gradients")]
    yield (
        m.family == "dense" and bool(blocks),
        f"measure.probes={blocks} measures blocks and their shortcuts, which a DenseNet has not; leave it out, or use "
        "model=plain or model=resnet",
    )
    yield (
        m.long_skips and "paths" in run.measure.probes,
        "measure.probes=[paths] follows the paths through all blocks, and model.long_skips=true has others; leave one "
        "of the two out",
    )


def _start_rules(m: Model) -> Iterable[tuple[bool, str]]:
    """Which networks can start as a shallower one (nets/identity.py)."""
    few = m.starts_as
    if few is None:
        return
    yield FAMILIES[m.family].stages(few, m.block) is None, f"model.starts_as: {wrong_depth(m.family, few, m.block)}"
    yield few >= m.depth, f"model.starts_as must be less than model.depth={m.depth}, got {few}; take fewer layers"
    yield (
        not m.residual and m.norm != "none",
        f"model.starts_as={few}: no block of a plain net with norm is an identity, since it takes away mean and "
        "deviation of every batch; use model.norm=none or model=resnet",
    )
    yield (
        m.norm in NOISY,
        f"model.starts_as={few}: no block is an identity with the noise of model.norm={m.norm}; use "
        f"model.norm={m.norm.removesuffix('_noisy')}",
    )
    needed = {"block": "basic", "order": "original", "activation": "relu", "branch_scale": "one", "shortcut_scale": 1}
    wrong = [f"model.{k}={getattr(m, k)}" for k, value in needed.items() if getattr(m, k) != value]
    wrong += ["model.shortcut=C"] * (m.shortcut == "C")
    yield (
        bool(wrong),
        f"model.starts_as={few} needs blocks that can be identities, got {wrong[0] if wrong else ''}; leave it out",
    )


def _teacher_rules(run: Run) -> Iterable[tuple[bool, str]]:
    """Which networks can give the labels, and to which runs (training/teacher.py)."""
    d = run.data
    if d.teacher is None:
        return
    yield (
        FAMILIES["cifar"].stages(d.teacher, "basic") is None,
        f"data.teacher: {wrong_depth('cifar', d.teacher, 'basic')}",
    )
    yield (
        d.stream or d.label_noise > 0 or run.env.devices > 1,
        f"data.teacher={d.teacher} trains a network on the true labels of images in memory, on one device: it needs "
        "data.stream=false, data.label_noise=0 and env.devices=1",
    )


def _norm_rules(run: Run) -> Iterable[tuple[bool, str]]:
    """What the norms need (nets/norms.py)."""
    m = run.model
    grouped = m.norm in ("group", "group_ws")
    yield (
        grouped
        and m.family != "dense"
        and any(channels % min(8, channels) for channels in (m.width, 2 * m.width, 4 * m.width)),
        f"model.norm={m.norm} has 8 groups: model.width must be 1, 2, 4 or a multiple of 8, got {m.width}",
    )
    yield (
        grouped and m.family == "dense" and (m.width % 8 > 0 or m.growth % 8 > 0),
        f"model.norm={m.norm} has 8 groups: model.width and model.growth of a DenseNet must be multiples of 8, got "
        f"{m.width} and {m.growth}",
    )
    yield (
        m.ghost_batch is not None and m.norm != "batch",
        f"model.ghost_batch={m.ghost_batch} needs model.norm=batch, got norm {m.norm}; set model.ghost_batch=null",
    )
    yield (
        m.norm_momentum != Model().norm_momentum and m.norm != "batch",
        f"model.norm_momentum={m.norm_momentum} needs model.norm=batch, got norm {m.norm}; leave it out",
    )
    yield m.norm_momentum == 0, "model.norm_momentum=0 would keep the statistics of the start; use e.g. 0.01"
    yield (
        m.norm in NOISY and run.env.devices > 1,
        f"model.norm={m.norm} draws the noise of a whole batch on one device: env.devices must be 1, got "
        f"{run.env.devices}",
    )
    yield (
        m.norm == "group_ws" and m.width == 1,
        "model.norm=group_ws standardises the weights of each output channel, and of a 1x1 convolution of one channel "
        "that is one weight, which would be 0; model.width must be at least 2, got 1",
    )
    side = side_of(run.data.name, run.data.size)
    halved = FAMILIES[m.family].reduction * 2 ** (len(stages(m.family, m.depth, m.block)) - 1)
    yield (
        m.norm == "instance" and side <= halved,
        f"model.norm=instance leaves nothing of a map of one pixel, which is what model.family={m.family} makes of "
        f"{side} x {side} pixels; use model.norm=group, or images of more than {halved} pixels on a side (data.size)",
    )


def _rules(run: Run) -> Iterable[tuple[bool, str]]:
    """Rules over several settings, each as (is it broken, what to say)."""
    m, d, o, p = run.model, run.data, run.optim, run.probes
    default = Model()
    unused = [
        k for k in ("shortcut", "shortcut_subsample", "shortcut_pad", "shortcut_scale", "scale_on", "branch_scale")
        if getattr(m, k) != getattr(default, k)
    ]  # fmt: skip
    yield from _family_rules(run)
    yield (
        m.stride_on != "3x3" and m.block != "bottleneck",
        f"model.stride_on={m.stride_on} needs model.block=bottleneck, got {m.block}; leave it out",
    )
    yield (
        bool(unused) and not m.residual,
        f"model.{unused[0] if unused else ''}: a plain net has no shortcut; use model=resnet or leave it out",
    )
    yield from _start_rules(m)
    yield (
        m.zero_init_residual and not (m.residual and m.norm not in ("none", *NOISY) and m.order == "original"),
        "model.zero_init_residual=true sets the scale of the last norm of each residual branch to 0: it needs "
        f"model=resnet, a norm without noise and model.order=original, got norm {m.norm} and order {m.order}; leave it "
        "out, or without norm use model.branch_scale=skipinit",
    )
    yield (
        m.init == "delta_orthogonal" and m.block == "bottleneck",
        "model.init=delta_orthogonal needs convolutions whose channels do not become fewer, and bottlenecks have such; "
        "use model.block=basic",
    )
    yield (
        m.init == "fixup"
        and not (
            m.residual and m.family != "dense" and m.norm == "none" and m.order == "original" and m.block != "one_layer"
        ),
        "model.init=fixup scales the branches of residual blocks of two layers or more: it needs model=resnet, "
        f"model.norm=none, model.order=original and no model.block=one_layer, got norm {m.norm}, order {m.order} and "
        f"block {m.block}; use model.init=he",
    )
    yield (
        m.shortcut != "A" and (m.shortcut_subsample, m.shortcut_pad) != ("slice", "append"),
        f"model.shortcut_subsample and model.shortcut_pad apply to shortcut A only, got shortcut {m.shortcut}",
    )
    yield from _norm_rules(run)
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
        run.env.devices % run.trainer.num_nodes != 0,
        f"trainer.num_nodes must divide env.devices ({run.env.devices}), got {run.trainer.num_nodes}",
    )
    yield (
        run.env.compile and run.env.devices > 1,
        f"env.compile=true needs env.devices=1, got {run.env.devices}; leave one of the two out",
    )
    yield d.title.strip() == "", "data.title is empty: name the data set as tables and figures should show it"
    yield (
        o.milestones != sorted(set(o.milestones)) or any(s <= 0 for s in o.milestones),
        f"optim.milestones must be rising positive steps, got {shown(o.milestones)}",
    )
    yield (
        o.warmup_every is not None and p.curve_every % o.warmup_every != 0,
        f"optim.warmup_every must divide probes.curve_every ({p.curve_every}), or be null, got {o.warmup_every}",
    )
    first_look = o.warmup_every or p.curve_every
    yield (
        o.warmup == "error" and o.warmup_steps <= first_look,
        f"optim.warmup=error would never look at the error: the first look comes after {first_look} steps and the "
        f"warm-up ends after {o.warmup_steps} at the latest; raise optim.warmup_steps, set optim.warmup_every, or use "
        "optim.warmup=steps",
    )
    yield (
        o.warmup == "error" and o.warmup_error == 0,
        "optim.warmup_error=0 would never end the warm-up, since no error is below it; raise it, or use "
        "optim.warmup=steps",
    )
    yield (
        o.warmup == "error" and 0 < o.steps < o.warmup_steps,
        f"optim.warmup_steps is {o.warmup_steps}, and training ends after {o.steps} (optim.steps); use {o.steps} for a "
        "warm-up that the error alone may end",
    )
    yield (
        o.warmup == "steps" and 0 < o.steps <= o.warmup_steps,
        f"optim.lr would never be used: the warm-up takes {o.warmup_steps} steps and training {o.steps}; lower "
        "optim.warmup_steps",
    )
    yield (
        p.eval_every % p.curve_every != 0,
        f"probes.eval_every must be a multiple of probes.curve_every ({p.curve_every}), got {p.eval_every}",
    )
    yield (
        run.measure.every % p.curve_every != 0,
        f"measure.every must be a multiple of probes.curve_every ({p.curve_every}), got {run.measure.every}",
    )
    yield (
        m.shortcut_pad == "split" and m.width % 2 != 0,
        f"model.shortcut_pad=split puts half of the new channels on each side: model.width must be even, got {m.width}",
    )
    images = TRAINING_IMAGES.get(d.name, o.batch) * (9 if d.split == "45k" else 10) // 10
    yield (
        d.name in TRAINING_IMAGES and (d.images or 0) > images,
        f"data.images is {d.images}, and {d.name} has {images} training images with data.split={d.split}; use fewer, "
        "or null for all",
    )
    yield (
        d.images is not None and d.last_batch == "drop" and o.batch > d.images,
        f"optim.batch is {o.batch}, and data.images {d.images}: no batch would be full; use a batch of at most "
        f"{d.images}, or data.last_batch=keep",
    )
    yield (
        d.name in TRAINING_IMAGES and d.last_batch == "drop" and o.batch > images,
        f"optim.batch is {o.batch}, and {d.name} has {images} training images with data.split={d.split}: no batch "
        f"would be full; use at most {images}, or data.last_batch=keep",
    )
    yield from _teacher_rules(run)
    yield (
        d.stream and d.name != "folder",
        f"data.stream=true reads a folder's images when they are needed, and {d.name} is held in memory; leave it out",
    )
    yield (
        d.stream and run.env.engine == "graph",
        "env.engine=graph takes its batches from the device, and data.stream=true reads them from files; use "
        "env.engine=eager",
    )
    yield (
        d.crop == "resized" and not (d.stream and d.size and d.resize and d.size <= d.resize and d.crop_padding == 0),
        f"data.crop=resized needs data.stream=true, data.size, data.resize at least as large, and data.crop_padding=0; "
        f"got {shown(d.stream)}, {d.size}, {d.resize} and {d.crop_padding} (ImageNet: size 224, resize 256)",
    )
    yield (
        d.crop == "padded" and d.resize is not None,
        f"data.resize={d.resize} needs data.crop=resized; leave it out, or resize the files",
    )
    yield (
        d.name in SIDES and (d.size or 0) > SIDES.get(d.name, 0),
        f"data.size is {d.size}, and {d.name} has images of {SIDES.get(d.name)} pixels on a side: they are averaged "
        "down, and not enlarged; leave it out, or say a smaller one",
    )
    yield o.nesterov and o.momentum == 0, "optim.nesterov=true needs optim.momentum > 0, got 0"
    yield o.clip == 0, "optim.clip=0 would stop all learning; null switches clipping off"
