"""An unchanged config must train as it did: the loss of 30 steps against a committed curve.

Rewrite the curve, after raising config.PROTOCOL, with `python tests/training/test_golden.py`.
"""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from resnet_repro import records
from resnet_repro.config import PROTOCOL, run_id
from resnet_repro.settings import compose
from resnet_repro.train import train

GOLDEN = Path(__file__).with_name("golden.csv")
# At this learning rate, a change of 1e-6 in the initial weights changes the losses by 2e-5.
SETTINGS = [
    "task=digits", "model.depth=8", "model.width=4", "optim.lr=0.01", "optim.weight_decay=0.1", "optim.steps=30",
    "optim.milestones=[20]", "probes.curve_every=1", "probes.eval_every=0", "env.device=cpu",
]  # fmt: skip


def curve(model, folder):
    """The running training loss of every step."""
    run = compose([*SETTINGS, f"model={model}", f"env.runs_dir={folder}"])
    train(run)
    rows = records.read_points(records.folder(run, run_id(run)))
    return [value for _, metric, *_, value in rows if metric == "train_loss"]


def golden():
    with open(GOLDEN, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("model", ["plain", "resnet"])
def test_an_unchanged_config_trains_as_it_did(model, tmp_path):
    expected = [float(row["train_loss"]) for row in golden() if row["model"] == model]
    assert len(expected) == 30
    assert curve(model, tmp_path) == pytest.approx(expected, rel=1e-3), (
        "The same config trains differently now, so records made before would be mixed with others under the same "
        f"names. If that is meant: raise PROTOCOL in resnet_repro/config.py, then rewrite {GOLDEN.name} (see above)."
    )


def test_the_golden_curve_belongs_to_this_protocol():
    assert {row["protocol"] for row in golden()} == {str(PROTOCOL)}, "rewrite golden.csv: PROTOCOL was raised"


def write():
    with TemporaryDirectory() as folder, open(GOLDEN, "w") as file:
        file.write("protocol,model,step,train_loss\n")
        for model in ("plain", "resnet"):
            for step, loss in enumerate(curve(model, folder), start=1):
                file.write(f"{PROTOCOL},{model},{step},{loss:.7f}\n")


if __name__ == "__main__":
    write()
