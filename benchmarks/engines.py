"""Images per second of every engine, against a plain PyTorch script and against the device's own limits.

On CIFAR-shaped random pixels, batch 128, ResNet-20/56/110 of width 16, on the device that is there. The plain script
is written the way the most used reproductions are: DataLoader with worker processes, torchvision transforms on PIL
images, NCHW, loss and accuracy read after every step. The limits are measured in the same run: a large matrix product
and a large copy give the rates; the least time of a step is the larger of (convolution FLOP / rate) and (bytes / rate),
the bytes being each convolution's output written once and read once, forward and backward.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import table
from benchmarks.timing import CUDA, DEVICE, engine_seconds, random_images, side_by_side, timed
from resnet_repro import settings
from resnet_repro.machine import cores
from resnet_repro.training.train_state import build

DEPTHS = (20, 56, 110)
BATCH = 128
PACKS = (1, 4, 8, 16)
COMPILED_PACKS = (1, 8)

Row = dict[str, Any]


def main(depths: Iterable[int] = DEPTHS, seconds: float = 1.0) -> None:
    """All rows for this device, written after each depth; seconds: of each of the repeats of a row."""
    rows: list[Row] = []
    for depth in depths:
        rows += _rows(depth, seconds)
        table.write("engines-cuda" if CUDA else "engines-cpu", rows, DEVICE.type)


def _rows(depth: int, seconds: float) -> list[Row]:
    rows = [_row(depth, "plain script", "fp32", 1, _plain_seconds(depth, seconds))]
    rows += _gpu_rows(depth, seconds) if CUDA else _cpu_rows(depth, seconds)
    limits = {precision: _least_seconds(depth, precision) for precision in {row["precision"] for row in rows}}
    for row in rows:
        row["times the plain script"] = row["images/s"] / rows[0]["images/s"]
        row["% of the device's limit"] = 100 * row["images/s"] * limits[row["precision"]] / BATCH
    return rows


def _cpu_rows(depth: int, seconds: float) -> Iterator[Row]:
    everything = f"env.threads={cores()}"
    for name, precision, words in (
        ("eager, NCHW", "fp32", [everything, "env.channels_last=false"]),
        ("eager, channels_last", "fp32", [everything]),
        ("eager, channels_last", "bf16", [everything]),
    ):
        yield _row(depth, name, precision, 1, engine_seconds([*words, *_run(depth, precision)], seconds=seconds))
    for precision in ("fp32", "bf16"):
        yield _row(
            depth, f"eager, channels_last, {cores()} processes of 1 thread", precision, cores(),
            side_by_side(["env.threads=1", *_run(depth, precision)], cores()),
        )  # fmt: skip


def _gpu_rows(depth: int, seconds: float) -> Iterator[Row]:
    words = ["env.engine=eager", "env.channels_last=false", *_run(depth)]
    yield _row(depth, "eager, NCHW", "fp32", 1, engine_seconds(words, seconds=seconds))
    kinds = [("eager", "false", (1,)), ("graph", "false", PACKS), ("graph", "true", COMPILED_PACKS)]
    for engine, compiled, packs in kinds:
        for precision in ("fp32", "tf32", "bf16"):
            words = [f"env.engine={engine}", f"env.compile={compiled}", *_run(depth, precision)]
            name = engine + (", compiled" if compiled == "true" else "")
            for packed in packs:
                yield _row(depth, name, precision, packed, engine_seconds(words, packed, seconds))


def _run(depth: int, precision: str = "fp32") -> list[str]:
    return ["task=cifar10", f"model.depth={depth}", f"optim.precision={precision}"]


def _row(depth: int, name: str, precision: str, packed: int, seconds: Iterable[float]) -> Row:
    """seconds: of one step of every run that goes side by side, several times."""
    times = sorted(seconds)
    middle = statistics.median(times)
    print(f"{depth} {name} {precision} x{packed}: {1e6 * middle / packed:.0f} us/step", file=sys.stderr, flush=True)
    return {
        "depth": depth, "engine": name, "precision": precision, "runs at once": packed,
        "us/step of a run": 1e6 * middle / packed, "lowest": 1e6 * times[0] / packed,
        "highest": 1e6 * times[-1] / packed, "images/s": BATCH * packed / middle,
    }  # fmt: skip


def _net(depth: int) -> nn.Module:
    """A ResNet of the paper's width on the CPU, in NCHW."""
    run = settings.compose([f"model.depth={depth}", "model.width=16", "env.channels_last=false"])
    return build(run, random_images())


# The plain script ----------------------------------------------------------------------------------------------


class _Pictures(torch.utils.data.Dataset):
    """CIFAR-shaped PIL images, as torchvision's CIFAR10 gives them."""

    def __init__(self, transform: Callable) -> None:
        images = random_images()
        self.x, self.y = images.train_x.permute(0, 2, 3, 1).numpy(), images.train_y.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, k: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.x[k])), self.y[k]


def _plain_seconds(depth: int, seconds: float) -> list[float]:
    from torchvision import transforms

    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(cores())
    normalize = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    augment = [transforms.RandomHorizontalFlip(), transforms.RandomCrop(32, 4), transforms.ToTensor(), normalize]
    loader = torch.utils.data.DataLoader(
        _Pictures(transforms.Compose(augment)), BATCH, shuffle=True, num_workers=min(4, cores()), pin_memory=CUDA,
        persistent_workers=True, drop_last=True,
    )  # fmt: skip
    net = _net(depth).to(DEVICE).train()
    sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    batches = _endless(loader)

    def take(steps: int) -> None:
        for _ in range(steps):
            x, y = next(batches)
            x, y = x.to(DEVICE), y.to(DEVICE)
            logits = net(x)
            loss = F.cross_entropy(logits, y)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            loss.item()
            (logits.argmax(1) == y).float().mean().item()

    return timed(take, seconds)


def _endless(loader: Iterable) -> Iterator:
    while True:
        yield from loader


# The device's limits -------------------------------------------------------------------------------------------


def _least_seconds(depth: int, precision: str) -> float:
    """A bound on the time of a step, from the rates of this device."""
    net = _net(depth)
    x = torch.zeros(BATCH, 3, 32, 32)
    outputs: list[int] = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _m, _i, y: outputs.append(y.numel()))
    with FlopCounterMode(display=False) as counter:
        net(x).sum().backward()
    size = 2 if precision == "bf16" else 4
    return max(counter.get_total_flops() / _flop_rate(precision), 4 * size * sum(outputs) / _byte_rate())


_RATES: dict[str, float] = {}


def _flop_rate(precision: str) -> float:
    """FLOP/s of a large matrix product in this precision."""
    if precision not in _RATES:
        torch.set_num_threads(cores())
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        size = 8192 if CUDA else 2048
        a = torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
        _RATES[precision] = 2 * size**3 / min(timed(lambda steps: [a @ a for _ in range(steps)] and None))
        print(f"{precision}: {_RATES[precision] / 1e12:.3g} TFLOP/s", file=sys.stderr)
    return _RATES[precision]


def _byte_rate() -> float:
    """Bytes/s, read and written, of a large copy."""
    if "bytes" not in _RATES:
        torch.set_num_threads(cores())
        a = torch.randn(2**28 if CUDA else 2**26, device=DEVICE)
        b = torch.empty_like(a)
        _RATES["bytes"] = 2 * a.numel() * 4 / min(timed(lambda steps: [b.copy_(a) for _ in range(steps)] and None))
        print(f"copy: {_RATES['bytes'] / 1e9:.4g} GB/s", file=sys.stderr)
    return _RATES["bytes"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each of the repeats of a row")
    options = parser.parse_args()
    main(options.depths, options.seconds)
