"""What each setting brings on a CPU: from these measurements the defaults are chosen (NOTES.md).

A row is one setting changed, with so many processes of so many threads on all cores; what counts is the number of
steps that the machine takes in a second, all its processes together.
"""

import statistics
from typing import Any

from benchmarks import table
from benchmarks.timing import CUDA, side_by_side
from resnet_repro.machine import cores

SCALES = {
    "digits, ResNet-20": ["task=digits", "model.depth=20"],
    "digits, ResNet-56": ["task=digits", "model.depth=56"],
    "32 x 32, ResNet-20": ["task=cifar10", "model.depth=20"],
}
DEFAULT = "defaults: channels_last, fp32, 1 thread"


def main() -> None:
    """All rows; nothing where there is a GPU, which then does the training."""
    if not CUDA:
        table.write("cpu", [row for name, words in SCALES.items() for row in _rows(name, words)])


def _rows(name: str, words: list[str]) -> list[dict[str, Any]]:
    settings: list[tuple[str, list[str], int]] = [
        (DEFAULT, [], cores()),
        ("NCHW instead of channels_last", ["env.channels_last=false"], cores()),
        ("bf16 (another run)", ["optim.precision=bf16"], cores()),
        ("torch.compile of the blocks", ["env.compile=true"], cores()),
        ("one process of all threads", [f"env.threads={cores()}"], 1),
        ("two processes per core", [], 2 * cores()),
    ]
    rows: list[dict[str, Any]] = []
    for setting, extra, processes in settings:
        seconds = statistics.median(side_by_side([*words, *extra], processes))
        rows.append({"run": name, "setting": setting, "processes": processes, "ms/step": 1e3 * seconds,
                     "steps/s of the machine": processes / seconds})  # fmt: skip
        rows[-1]["% against the defaults"] = 100 * (
            rows[-1]["steps/s of the machine"] / rows[0]["steps/s of the machine"] - 1
        )
    return rows


if __name__ == "__main__":
    main()
