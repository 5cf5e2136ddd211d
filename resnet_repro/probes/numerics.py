"""Whether numbers are right on this machine: every layer of one training step beside the same layer in float64.

Layer by layer, each on the very input and output gradient that it had in the step. Whole networks cannot be compared
so: a ReLU that rounding has switched lets right gradients differ by up to 3 %, as much as wrong ones.
"""

import copy
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_repro.nets import NETWORKS

TOLERANCE = {False: 1e-3, True: 5e-2}
"""Largest relative deviation that is rounding, without and with bf16. Convolutions stay below 1e-5 and 2e-2; batch norm
of few channels, in channels_last, adds 131,072 numbers one after the other, and comes to 1.3e-4."""


TRIES = 15
"""Of a convolution in each precision, to say how fast it is."""


class Deviation(NamedTuple):
    """|measured - reference| / |reference| (Euclidean norms) of one result of one layer."""

    layer: str
    result: str  # output, input gradient, weight gradient, bias gradient
    relative: float


@dataclass(frozen=True)
class Case:
    """A network, and the batch and the way to compute one training step of it."""

    net: dict[str, Any]  # arguments of the network
    family: str = "cifar"
    size: int = 8  # pixels of an image's side
    batch: int = 128
    channels_last: bool = True
    bf16: bool = False
    device: str = "cpu"

    def __str__(self) -> str:
        settings = ", ".join(f"{k} {v}" for k, v in ({"family": self.family} | self.net).items())
        layout = "channels_last" if self.channels_last else "contiguous"
        return f"{settings}; {self.size} x {self.size}, {layout}, {'bf16' if self.bf16 else 'fp32'}"


def step_deviations(case: Case) -> list[Deviation]:
    """The deviations of every convolution, norm and linear layer in a training step on random images."""
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if case.channels_last else torch.contiguous_format
    net = NETWORKS[case.family](**case.net, generator=generator)
    net = net.to(case.device, memory_format=layout)  # type: ignore[call-overload]
    shape = (case.batch, case.net.get("in_channels", 3), case.size, case.size)
    images = torch.randn(shape, generator=generator).to(case.device, memory_format=layout)
    labels = torch.randint(0, 10, (case.batch,), generator=generator).to(case.device)
    seen = _watched(net)
    with torch.autocast(case.device, torch.bfloat16, enabled=case.bf16):
        logits = net(images)
    F.cross_entropy(logits.float(), labels).backward()
    found = [deviation for name, layer in seen.items() for deviation in _layer_deviations(name, layer)]
    # The gradient of a scale is one sum over all positions, which nearly cancels: in bf16 rounding is a part of it.
    return [d for d in found if not (case.bf16 and d.result == "scale gradient")]


class _Layer:
    """A layer with what went through it; `found` has its own results, `copy` is as it was before the step."""

    input: Tensor
    output_gradient: Tensor

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.copy = copy.deepcopy(module)  # a step moves a norm's statistics
        self.found: dict[str, Any] = {}

    def before(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        x = inputs[0].view_as(inputs[0])  # of its own, so that its gradient is this layer's alone
        self.input = x.detach()
        if x.requires_grad:
            x.register_hook(lambda gradient: self.found.__setitem__("input gradient", gradient))
        return (x,)

    def after(self, _: nn.Module, __: Any, output: Tensor) -> None:
        self.found["output"] = output.detach()
        output.register_hook(lambda gradient: setattr(self, "output_gradient", gradient))


def _watched(net: nn.Module) -> dict[str, _Layer]:
    layers = {name: _Layer(m) for name, m in net.named_modules() if m._parameters}
    for layer in layers.values():
        layer.module.register_forward_pre_hook(layer.before)
        layer.module.register_forward_hook(layer.after)
    return layers


def _layer_deviations(name: str, layer: _Layer) -> Iterator[Deviation]:
    reference = layer.copy.to("cpu", torch.float64, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    x = layer.input.to("cpu", torch.float64).contiguous().requires_grad_()
    output = reference(x)
    output.backward(layer.output_gradient.to("cpu", torch.float64).contiguous())
    right: dict[str, Any] = {"output": output.detach(), "input gradient": x.grad}
    for kind, p in reference.named_parameters():
        right[f"{kind} gradient"] = p.grad
        layer.found[f"{kind} gradient"] = layer.module.get_parameter(kind).grad
    for result, value in layer.found.items():
        yield Deviation(name, result, _relative(value.to("cpu", torch.float64), right[result]))


def _relative(value: Tensor, reference: Tensor) -> float:
    """Infinite where the value is no number; the norm itself where the reference is zero."""
    relative = float((value - reference).norm() / (reference.norm() or 1.0))
    return math.inf if math.isnan(relative) else relative


def bf16_per_fp32(device: str) -> float:
    """How long a 3x3 convolution takes in bf16, forward and backward, in units of its time in fp32; measured here.

    A CPU without such instructions emulates bf16. Draws nothing from the global generator.
    """
    x = torch.ones(64, 16, 32, 32, device=device).to(memory_format=torch.channels_last)
    weight = torch.ones(16, 16, 3, 3, device=device, requires_grad=True)
    # In turn, and the shortest of each: what else runs meanwhile makes some tries of both longer.
    tries = [(_seconds(x, weight, True), _seconds(x, weight, False)) for _ in range(TRIES)]
    return min(bf16 for bf16, _ in tries) / min(fp32 for _, fp32 in tries)


def _seconds(x: Tensor, weight: Tensor, bf16: bool) -> float:
    start = time.perf_counter()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        y = F.conv2d(x, weight, padding=1)
    y.sum().backward()
    float(weight.detach().sum())  # waits for a GPU
    return time.perf_counter() - start


# In processes of their own, since a library's mistake may end the process ---------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a case showed: its largest deviation, or why there is none."""

    case: Case
    worst: Deviation | None
    crash: str = ""

    @property
    def right(self) -> bool:
        return self.worst is not None and self.worst.relative < TOLERANCE[self.case.bf16]


def check(cases: Sequence[Case]) -> list[Outcome]:
    """The outcome of every case, computed in another process; where that crashes, a new one goes on with the next."""
    outcomes: list[Outcome] = []
    while len(outcomes) < len(cases):
        left = cases[len(outcomes) :]
        asked = "".join(json.dumps(asdict(case)) + "\n" for case in left)
        child = [sys.executable, "-m", "resnet_repro.probes.numerics"]
        done = subprocess.run(child, input=asked, capture_output=True, encoding="utf-8", check=False)
        lines = done.stdout.splitlines()
        outcomes += [Outcome(c, Deviation(*json.loads(line))) for c, line in zip(left, lines, strict=False)]
        if len(lines) < len(left):
            why = (done.stderr.strip().splitlines() or [""])[-1]
            outcomes.append(Outcome(left[len(lines)], None, f"exit code {done.returncode}: {why}"))
    return outcomes


def main() -> None:
    """Reads cases, one a line, and prints the worst deviation of each."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        worst = max(step_deviations(Case(**json.loads(line))), key=lambda d: d.relative)
        print(json.dumps(worst), flush=True)


if __name__ == "__main__":
    main()
