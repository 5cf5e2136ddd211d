"""A saved result is trusted for the data that it comes from, and for no other."""

import json
import multiprocessing
import os
import subprocess
import sys
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image

from resnet_repro import inputs, records, sources
from resnet_repro.config import run_id
from resnet_repro.errors import UserError, sentence
from resnet_repro.jobs.drive import RunsCrashed, train_missing
from resnet_repro.planning import Planned
from resnet_repro.settings import compose
from resnet_repro.train import train, train_pack
from resnet_repro.training.train_state import TrainState

TINY = (
    "task=folder", "model.depth=8", "model.width=4", "optim.milestones=[8]", "optim.steps=12", "optim.batch=4",
    "probes.curve_every=4", "probes.eval_every=0", "data.normalize=none", "env.checkpoint_seconds=0",
)  # fmt: skip


def images(folder, classes="ab", count=4, seed=0):
    """A folder of noise; returns it."""
    for part in ("train", "test"):
        for name in classes:
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                rng = np.random.default_rng([seed, i, ord(name), len(part)])
                Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(
                    folder / part / name / f"{i}.png"
                )
    return folder


def run_on(folder, tmp_path, *overrides):
    return compose([*TINY, f"env.data_dir={folder}", f"env.runs_dir={tmp_path}/runs", *overrides])


def place(run):
    return records.folder(run, run_id(run))


def kept(run):
    """All files of the run's folder but the lock."""
    return {path.name: path.read_bytes() for path in place(run).iterdir() if path.name != "lock"}


def sha(folder):
    return sources.sha256("folder", folder)


@pytest.fixture
def stopped(monkeypatch):
    """Has training stop after its first checkpoint, as if it were killed there."""
    save = TrainState.save

    def save_and_stop(state):
        save(state)
        raise RuntimeError("stopped")

    def stop(run):
        with monkeypatch.context() as patch:
            patch.setattr(TrainState, "save", save_and_stop)
            with pytest.raises(RuntimeError, match="stopped"):
                train(run)

    return stop


def assert_refused(error, run, seen, here, title="image folder"):
    message = str(error)
    assert "\n" not in message
    for words in (seen[:10], here[:10], repr(title), str(place(run)), "data.title", "env.data_dir", "move"):
        assert words in message


def test_a_finished_run_is_refused_on_other_images_and_stays_as_it_is(tmp_path):
    old, new = images(tmp_path / "old"), images(tmp_path / "new", classes="abc", seed=1)
    before, after = run_on(old, tmp_path), run_on(new, tmp_path)
    assert run_id(before) == run_id(after)
    record = train(before)
    files = kept(before)
    with pytest.raises(inputs.OtherData) as caught:
        train(after)
    assert_refused(caught.value, after, sha(old), sha(new))
    assert kept(before) == files
    assert train(before) == record
    assert train(run_on(new, tmp_path, "data.title=new"))["provenance"]["data_sha256"] == sha(new)


def test_the_hash_stands_in_run_json_in_the_checkpoint_and_in_the_record(tmp_path, stopped):
    import torch

    folder = images(tmp_path / "images")
    run = run_on(folder, tmp_path)
    stopped(run)
    checkpoint = torch.load(records.checkpoint(place(run)), weights_only=True)
    assert checkpoint["data_sha256"] == sha(folder)
    assert json.loads((place(run) / "run.json").read_text())["data_sha256"] == sha(folder)
    assert train(run)["provenance"]["data_sha256"] == sha(folder)


@pytest.mark.parametrize("told_by", ["run.json", "checkpoint"])
def test_an_interrupted_run_is_refused_on_other_images_and_goes_on_with_its_own(tmp_path, stopped, told_by):
    folder = images(tmp_path / "images")
    run, undisturbed = run_on(folder, tmp_path), run_on(folder, tmp_path / "undisturbed")
    stopped(run)
    if told_by == "checkpoint":
        (place(run) / "run.json").unlink()
    files, seen = kept(run), sha(folder)
    images(folder, count=6)  # two more of each class
    with pytest.raises(inputs.OtherData) as caught:
        train(run)
    assert_refused(caught.value, run, seen, sha(folder))
    assert kept(run) == files
    for path in folder.glob("*/*/[45].png"):
        path.unlink()
    assert sha(folder) == seen
    assert train(run)["metrics"] == train(undisturbed)["metrics"]
    assert (place(run) / "points.csv").read_bytes() == (place(undisturbed) / "points.csv").read_bytes()


def test_a_refused_run_of_a_pack_stops_no_other(tmp_path):
    old, new = images(tmp_path / "old"), images(tmp_path / "new", seed=1)
    train(run_on(old, tmp_path, "seed=1"))
    pack = [run_on(new, tmp_path, f"seed={seed}") for seed in (0, 1, 2)]
    with pytest.raises(inputs.OtherData, match=str(place(pack[1]))):
        train_pack([(run, []) for run in pack])
    seen = [records.read(place(run))["provenance"]["data_sha256"] for run in pack]
    assert seen == [sha(new), sha(old), sha(new)]


def test_without_the_data_a_finished_run_comes_back_and_it_is_said_that_nothing_was_compared(tmp_path, caplog):
    folder = images(tmp_path / "images")
    record = train(run_on(folder, tmp_path))
    assert train(run_on(tmp_path / "gone", tmp_path)) == record
    (said,) = [entry.message for entry in caplog.records if "not compared" in entry.message]
    assert "image folder" in said


def test_a_run_of_before_the_hash_was_kept_goes_on(tmp_path, stopped):
    run = run_on(images(tmp_path / "images"), tmp_path)
    stopped(run)
    begun = json.loads((place(run) / "run.json").read_text())
    del begun["data_sha256"]
    records.write_json(place(run) / "run.json", begun)
    assert train(run)["status"]


def test_a_sweep_that_is_finished_notices_other_images_and_lists_them(tmp_path, capsys):
    folder = images(tmp_path / "images")
    runs = [run_on(folder, tmp_path, f"seed={seed}") for seed in (0, 1)]
    planned = [Planned(run, (f"seed={run.seed}",), run_id(run)) for run in runs]
    train_pack([(run, []) for run in runs])
    assert train_missing(planned, launcher=object()) == []
    seen = sha(folder)
    images(folder, seed=2)
    capsys.readouterr()
    with pytest.raises(RunsCrashed):
        train_missing(planned, launcher=object())
    output = capsys.readouterr().out
    assert output.startswith("2 runs: 0 finished already, 0 to train, 2 refused\n")
    for run in runs:
        (line,) = [line for line in output.splitlines() if line.startswith(f"{run_id(run)}: ")]
        assert_refused(line, run, seen, sha(folder))


def test_damaged_images_are_told_of_every_run_that_they_concern(tmp_path):
    folder = images(tmp_path / "images")
    run = run_on(folder, tmp_path)
    train(run)
    (folder / "train/a/0.png").write_bytes(b"no image")
    refused = inputs.refused([Planned(run, (), run_id(run))])
    assert "train/a/0.png cannot be decoded" in refused[run_id(run)]
    with pytest.raises(UserError, match="cannot be decoded"):
        train(run)


def test_comparing_imports_no_torch(tmp_path):
    folder = images(tmp_path / "images")
    run = run_on(folder, tmp_path)
    train(run)
    code = (
        "import sys; from resnet_repro import inputs, config; from resnet_repro.planning import Planned; "
        "from resnet_repro.settings import compose; "
        f"run = compose({[*TINY, f'env.data_dir={folder}', f'env.runs_dir={tmp_path}/runs']!r}); "
        "print(inputs.refused([Planned(run, (), config.run_id(run))]), 'torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "{} False\n"


# Folders that cannot be used -----------------------------------------------------------------------------------


def link_in_place_of(name):
    def make(place):
        target = place.parent / "elsewhere"
        target.write_text("somebody's")
        (place / name).symlink_to(target)

    return make


UNUSABLE = {
    "link in place of a checkpoint": (link_in_place_of("checkpoint-00000004-0123456789abcdef.ckpt"), "is a link"),
    "link in place of the next checkpoint": (link_in_place_of(".checkpoint.part"), "is a link"),
    "link in place of the curves": (link_in_place_of("points.csv"), "is a link"),
    "link in place of the log": (link_in_place_of("log.txt"), "is a link"),
    "folder in place of a checkpoint": (lambda p: (p / "checkpoint-00000004-0123.ckpt").mkdir(), "is no file"),
    "folder in place of the curves": (lambda p: (p / "points.csv").mkdir(), "is no file"),
    "folder in place of the record": (lambda p: (p / "record.json").mkdir(), "move away the folder"),
    "folder in place of the lock": (lambda p: (p / "lock").mkdir(), "move away the folder"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_folder_that_cannot_be_used_is_told_in_one_line_and_nothing_is_written(tmp_path, what):
    make, words = UNUSABLE[what]
    run, other = (compose(["task=digits", *TINY[1:], f"env.runs_dir={tmp_path}/runs", f"seed={s}"]) for s in (0, 1))
    place(run).mkdir(parents=True)
    make(place(run))
    before = sorted(path.name for path in place(run).iterdir() if path.name != "lock")
    (told,) = inputs.refused([Planned(r, (), run_id(r)) for r in (run, other)]).values()
    assert words in told
    assert str(place(run)) in told
    with pytest.raises((UserError, OSError)) as caught:
        train(run, log=True)
    assert sentence(caught.value) == told
    assert "\n" not in told
    assert sorted(path.name for path in place(run).iterdir() if path.name != "lock") == before
    elsewhere = tmp_path / "runs" / "elsewhere"
    assert not elsewhere.exists() or elsewhere.read_text() == "somebody's"


def _told_to_another_user(run, answer):
    if os.geteuid() == 0:
        os.seteuid(65534)
    answer.send(list(inputs.refused([Planned(run, (), run_id(run))]).values()))


@pytest.mark.parametrize("name", ["lock", "record.json"])
def test_a_file_of_another_user_is_told_in_one_line(name):
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        run = compose(["task=digits", f"env.runs_dir={folder}"])
        place(run).mkdir()
        (place(run) / name).write_text("")
        (place(run) / name).chmod(0o600 if os.geteuid() == 0 else 0)
        fork = multiprocessing.get_context("fork")
        receive, send = fork.Pipe(duplex=False)
        child = fork.Process(target=_told_to_another_user, args=(run, send))
        child.start()
        (told,) = receive.recv()
        child.join()
    assert told.startswith(f"{place(run) / name}: Permission denied: give yourself the right to it")


def test_a_temporary_file_that_was_replaced_by_a_link_is_not_written_through(tmp_path):
    target = tmp_path / "target"
    target.write_text("somebody's")
    (tmp_path / f".run.json.{os.getpid()}").symlink_to(target)
    records.write_json(tmp_path / "run.json", {})
    assert target.read_text() == "somebody's"
    assert json.loads((tmp_path / "run.json").read_text()) == {}
