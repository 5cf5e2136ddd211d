"""Training on images that are read from their files: the same bits however they are read, on images made here."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_repro import data, records
from resnet_repro.config import ConfigError
from resnet_repro.errors import UserError
from resnet_repro.settings import compose
from resnet_repro.train import train
from resnet_repro.training.engine import feed
from resnet_repro.training.fit import fit
from resnet_repro.training.train_state import TrainState

CPU = torch.device("cpu")
LARGE = (
    "task=imagenet", "model.width=8", "data.title=made up", "data.size=32", "data.resize=40", "optim.batch=8",
    "optim.steps=12", "optim.milestones=[9]", "probes.curve_every=3", "probes.eval_every=6", "env.wandb=disabled",
    "probes.train_error_images=10", "env.device=cpu",
)  # fmt: skip


def draw(folder, sizes):
    """Four classes of ten images, JPEG and PNG, of the sizes in turn; two of each under val/, as ImageNet has it."""
    rng = np.random.default_rng(0)
    for number in range(40):
        width, height = sizes[number % len(sizes)]
        part, name = "val" if number % 10 < 2 else "train", f"n{number // 10:02}"
        (folder / part / name).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(256, size=(height, width, 3), dtype=np.uint8) // 2 + 30 * (number // 10)
        Image.fromarray(pixels).save(folder / part / name / f"{number}.{'png' if number % 3 else 'jpg'}")
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("large"), [(48, 40), (36, 52), (60, 36)])


@pytest.fixture(scope="module")
def equal(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("equal"), [(16, 16)])


def load(run):
    return data.load("folder", Path(run.env.data_dir), split=run.data.split, stream=run.data.stream)


def outcome(record, place):
    return record["metrics"], records.read_points(place), record["provenance"]["data_sha256"]


def trained(runs_dir, large, *overrides):
    run = compose([*LARGE, f"env.runs_dir={runs_dir}", f"env.data_dir={large}", *overrides])
    record = train(run)
    return outcome(record, records.folder(run, record["run_id"])), record


def interrupted(runs_dir, large, workers, monkeypatch):
    """Trains to a checkpoint in the middle of the second epoch, ends there, and goes on."""
    save = TrainState.save

    def killed(state):
        save(state)
        if state.step == 6:  # an epoch has four steps
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TrainState, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(runs_dir, large, "env.checkpoint_seconds=0", f"env.workers={workers}")
    return trained(runs_dir, large, f"env.workers={workers}")


def test_a_streamed_run_has_the_same_bits_after_an_interruption_and_with_any_number_of_workers(
    tmp_path, large, monkeypatch
):
    whole, record = trained(tmp_path / "whole", large, "env.workers=0")
    assert [interrupted(tmp_path / str(n), large, n, monkeypatch)[0] for n in (0, 2)] == [whole, whole]
    assert (record["steps_done"], record["diverged_step"]) == (12, None)
    counts = {name: record["provenance"][f"{name}_images"] for name in ("train", "test")}
    assert counts == {"train": 10, "test": 8}


def test_streamed_batches_and_passes_are_those_from_the_device(equal):
    settings = [
        "task=folder", f"env.data_dir={equal}", "optim.batch=9", "data.last_batch=keep", "data.pad=after",
        "probes.train_error_images=20", "env.workers=0", "data.size=16",
    ]  # fmt: skip
    resident, streamed = (
        feed(run, load(run), CPU) for run in (compose([*settings, f"data.stream={on}"]) for on in ("false", "true"))
    )
    assert torch.equal(resident.train_y, streamed.train_y)
    assert (resident.epoch_steps, resident.full_steps) == (streamed.epoch_steps, streamed.full_steps) == (4, 3)
    for step in (0, 1, 2, 3, 4, 9):
        resident.seek(step)
        streamed.seek(step)
        one, other = ((f.rest() if step == 3 else f.next()) for f in (resident, streamed))
        assert all(map(torch.equal, one, other)), step
    for passes in (lambda f: f.clean("train", 7), lambda f: f.clean("test"), lambda f: f.augmented(-1)):
        whole = [[torch.cat(parts) for parts in zip(*passes(f)(), strict=True)] for f in (resident, streamed)]
        assert all(map(torch.equal, *whole))


def test_ranks_share_a_batch_and_both_arms_see_the_same(large, monkeypatch):
    def first(rank, world_size, arm="resnet"):
        monkeypatch.setattr("resnet_repro.training.parallel.rank", lambda: rank)
        monkeypatch.setattr("resnet_repro.training.parallel.world_size", lambda: world_size)
        run = compose([*LARGE, f"model={arm}", f"env.data_dir={large}", "env.workers=0"])
        streamed = feed(run, load(run), CPU)
        streamed.seek(5)
        return streamed.next()

    images, labels = first(0, 1, "plain")
    shares = [first(0, 2), first(1, 2)]
    assert torch.equal(images, torch.cat([images for images, _ in shares]))
    assert torch.equal(labels, torch.cat([labels for _, labels in shares]))


def test_a_file_that_cannot_be_decoded_is_named_and_what_was_trained_is_kept(tmp_path, equal):
    folder = draw(tmp_path / "images", [(48, 40), (36, 52)])
    run = compose([*LARGE, f"env.runs_dir={tmp_path / 'runs'}", f"env.data_dir={folder}", "env.workers=0"])
    (folder / "val/n00/0.jpg").write_bytes(b"no image" * 200)
    with pytest.raises(UserError, match=r"1 of 8 images cannot be used.*val/n00/0\.jpg cannot be decoded"):
        train(run)
    (folder / "val/n00/0.jpg").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(UserError, match=r"1 of 40 images cannot be used.*git lfs pull"):
        load(run)
    padded = ["task=folder", "data.stream=true", "optim.batch=8", "env.workers=0"]
    unequal = compose([*padded, f"env.data_dir={folder}"])
    (folder / "val/n00/0.jpg").unlink()
    with pytest.raises(UserError, match=r"has 36x52 pixels, another 48x40: use data\.crop=resized"):
        feed(unequal, load(unequal), CPU)
    other = compose([*padded, "data.size=32", f"env.data_dir={equal}"])
    with pytest.raises(UserError, match=r"data\.size is 32, and the images have 16x16"):
        fit([TrainState(other, load(other), tmp_path)], print)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.stream=true"], "digits is held in memory"),
        (["task=imagenet", "env.engine=graph"], "use env.engine=eager"),
        (["task=imagenet", "data.resize=200"], "data.resize at least as large"),
        (["task=imagenet", "data.stream=false"], "needs data.stream=true"),
        (["data.resize=9"], "needs data.crop=resized"),
        (["data.size=32"], "digits has images of 8 pixels on a side: they are averaged down, and not enlarged"),
    ],
)
def test_settings_of_large_images_that_make_no_sense_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose(overrides)
