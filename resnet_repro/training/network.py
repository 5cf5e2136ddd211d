"""The network of a run, built from its settings and kept once it is trained; and the data set it is trained on."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnet_repro import records
from resnet_repro.config import Run, run_id
from resnet_repro.data import DataSet, Images, drawn
from resnet_repro.data import load as load_data
from resnet_repro.families import FAMILIES
from resnet_repro.nets import NETWORKS, Network
from resnet_repro.nets.identity import start_as


def data_sets(runs: Sequence[Run]) -> list[DataSet]:
    """The data set of each run; those of one set, or of one teacher, share it. Raises as `data.load` and `drawn` do."""
    load_once = cache(load_data)
    by_teacher: dict[str, Images] = {}

    def of_run(run: Run) -> DataSet:
        data, env = run.data, run.env
        full = load_once(data.name, Path(env.data_dir), split=data.split, download=env.download, stream=data.stream)
        images = drawn(full, data.images, data.label_noise, run.seed)
        if data.teacher is None or not isinstance(images, Images):
            return images
        from resnet_repro.training.teacher import taught, teacher  # it builds networks itself

        by = teacher(run)
        if run_id(by) not in by_teacher:
            by_teacher[run_id(by)] = taught(by, images)
        return by_teacher[run_id(by)]

    return [of_run(run) for run in runs]


def build(run: Run, images: DataSet) -> Network:
    """The run's network on the CPU, with initial weights that depend on the seed and not on the arm."""
    net = _make(_arguments(run, images), torch.Generator().manual_seed(run.seed))
    layout = torch.channels_last if run.env.channels_last else torch.contiguous_format
    return net.to(memory_format=layout)  # type: ignore[call-overload]


def keep(run: Run, images: DataSet, net: nn.Module, place: Path) -> str:
    """Keeps the network in the run's folder: its parameters and buffers, and the arguments that make it.

    Returns the hash of the former, which is the same for the same parameters.
    """
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    return records.keep_network(place, save(state), _arguments(run, images))


def load(place: Path) -> Network:
    """The trained network in a run's folder, in evaluation mode on the CPU. Raises UserError where there is none."""
    from safetensors.torch import load as parse

    parameters, arguments = records.network(place)
    net = _make(arguments, torch.Generator())
    net.load_state_dict(parse(parameters))
    return net.eval()


def _arguments(run: Run, images: DataSet) -> dict[str, Any]:
    """What makes the run's network: its family, and the arguments of that class."""
    size = (run.data.size, run.data.size) if run.data.size else images.image_size
    return {**asdict(run.model), "classes": images.classes, "in_channels": images.channels, "image_size": size}


def _make(arguments: dict[str, Any], generator: torch.Generator) -> Network:
    family, depth, few = arguments["family"], arguments["depth"], arguments.get("starts_as")
    others = ("family", "depth", "starts_as", *FAMILIES[family].without)
    rest = {name: value for name, value in arguments.items() if name not in others}
    kind: Any = NETWORKS[family]
    if few is None:
        return kind(depth, **rest, generator=generator)
    shallow = kind(few, **rest, generator=generator)  # first, so that it is the net of that depth and seed
    return start_as(kind(depth, **rest, generator=generator), shallow, depth, few)
