"""What the harness costs: one run through Trainer, records, callbacks and mirror against a bare PyTorch loop.

Both do the same steps on the same network, batches and process settings, and measure the same errors. They take
turns; a figure is the median over the pairs of (harness - bare) / bare. Processor time is the figure to trust on a
machine that does other things as well; wall time is printed beside it.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks import table
from resnet_repro import config, data, mirror, settings
from resnet_repro.planning import Planned
from resnet_repro.probes.errors import error, final_errors
from resnet_repro.train import train
from resnet_repro.training.engine import optimizer
from resnet_repro.training.fit import set_up
from resnet_repro.training.train_state import build

PAIRS = 7


def main() -> None:
    """Measures at digits scale and at CIFAR scale."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        images = _random_images(place / "images")
        cifar = ["task=folder", f"env.data_dir={images}", "data.title=random 32 x 32 pixels", "optim.milestones=[]"]
        rows = [
            _compare("digits, depth 20, width 8, 400 steps", ["task=digits"], place),
            _compare("32 x 32, depth 20, width 16, 30 steps", [*cifar, "optim.steps=30", "probes.curve_every=30",
                     "probes.eval_every=30"], place),
        ]  # fmt: skip
    table.write("overhead", rows)


def _compare(what: str, overrides: list[str], place: Path) -> dict[str, object]:
    bare, harness = [], []
    for pair in range(-1, PAIRS):  # the first pair warms up
        run = settings.compose([*overrides, f"seed={pair + 1}", f"env.runs_dir={place}/runs"])
        planned = Planned(run, tuple(overrides), config.run_id(run))
        bare_time = _timed(lambda run=run: _bare(run))
        with mirror.following([planned]):
            time.sleep(3)  # its imports are a sweep's, not a run's
            harness_time = _timed(lambda run=run: train(run, overrides))
        if pair >= 0:
            bare.append(bare_time)
            harness.append(harness_time)
    overheads = [
        [100 * (h[k] - b[k]) / b[k] for b, h in zip(bare, harness, strict=True)] for k in (0, 1)
    ]  # fmt: skip
    return {
        "what": what,
        "bare loop, CPU s": statistics.median(b[0] for b in bare),
        "harness, CPU s": statistics.median(h[0] for h in harness),
        "overhead, % of CPU time": statistics.median(overheads[0]),
        "lowest": min(overheads[0]),
        "highest": max(overheads[0]),
        "overhead, % of wall time": statistics.median(overheads[1]),
        "pairs": PAIRS,
    }


def _timed(do: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    do()
    return time.process_time() - cpu, time.perf_counter() - wall


def _bare(run: config.Run) -> None:
    """The same training by hand: no Trainer, no records, no counting, no curves; then the same errors."""
    set_up(run)
    images = data.load(run.data.name, Path(run.env.data_dir), split=run.data.split)
    net = build(run, images)
    sgd = optimizer(run, net)
    transform = data.fit_transform(
        images.train_x, normalize=run.data.normalize, pad=run.data.pad, crop_padding=run.data.crop_padding,
        memory_format=torch.channels_last,
    )  # fmt: skip
    crops = transform.prepare(images.train_x)
    test = data.clean_batches(transform, images.test_x, images.test_y, torch.device("cpu"))
    epoch_steps = data.steps_per_epoch(len(images.train_y), run.optim.batch, run.data.last_batch)
    for step in range(run.optim.steps):
        if step % epoch_steps == 0:
            draws = data.epoch_draws(
                run.seed, step // epoch_steps, count=len(images.train_y), crop_padding=run.data.crop_padding,
                flip=run.data.flip,
            )  # fmt: skip
        if step in run.optim.milestones:
            for group in sgd.param_groups:
                group["lr"] *= run.optim.gamma
        part = data.batch_slice(step % epoch_steps, run.optim.batch)
        index = draws.order[part]
        x = transform.augment(crops, index, draws.dy[part], draws.dx[part], draws.flip[part])
        loss = F.cross_entropy(net(x), images.train_y[index])
        sgd.zero_grad(set_to_none=True)
        loss.backward()
        sgd.step()
        if (step + 1) % run.probes.eval_every == 0:
            error(net, test)
    feed = data.Resident(
        images, lambda _: transform, device=torch.device("cpu"), seed=run.seed, batch=run.optim.batch,
        flip=run.data.flip,
    )  # fmt: skip
    final_errors(net, feed, batch=run.optim.batch, valid=images.valid_y is not None, bf16=False)


def _random_images(place: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 26), ("test", 10)):
        for label in range(10):
            folder = place / part / str(label)
            folder.mkdir(parents=True)
            for k in range(count):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{k}.png")
    return place


if __name__ == "__main__":
    main()
