"""Whether a run can fit into memory: an estimate from its settings, without building the network.

It counts what training must hold at least, so it refuses nothing that would work: weights, gradients and momentum,
and the outputs that the backward pass needs. What libraries and workspaces take comes on top.
"""

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from resnet_repro.config import SIDES, ConfigError, Run
from resnet_repro.families import BARE, FAMILIES, LAYERS, Convolution, dense_convolutions, stages
from resnet_repro.machine import visible_gpus

LEAST = 8
"""Pixels on a side of a folder's images where data.size does not say it: a low guess."""
HERE = ("local", "basic", "joblib")
"""Hydra's launchers that train on this machine."""
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def check(runs: Iterable[Run], launcher: str = "local") -> None:
    """Raises ConfigError for the first run that needs more memory than this machine has.

    Asked by the command, before anything starts, and by a cluster's job. Where the launcher has other machines train,
    which may have more, the command only says it.
    """
    there = available()
    for run in runs:
        needed = weights(run) + (0 if _on_gpu(run) else activations(run))
        if needed > there:
            what = (
                f"model.width={run.model.width}, model.depth={run.model.depth} and optim.batch={run.optim.batch} need "
                f"at least {_gigabytes(needed)} of memory, and there are {_gigabytes(there)}"
            )
            if launcher in HERE:
                raise ConfigError(f"{what}: lower one of them")
            print(f"warning: {what} here; a machine of the cluster needs as much", flush=True)
            return


def weights(run: Run) -> int:
    """Bytes of the blocks' convolutions, their gradients and their momentum (fp32).

    Of a block with c channels: its 3 x 3 convolutions, or a bottleneck's 4c -> c -> c -> 4c; the first of a stage has
    fewer inputs. Stem, last layer, norms and projections are left out.
    """
    if run.model.family == "dense":
        return 12 * sum(c.kernel**2 * c.inputs * c.outputs for c in _dense(run))
    layers, narrow = LAYERS[run.model.block], run.model.block == "bottleneck"
    count = 0
    for number, (blocks, c, _) in enumerate(_stages(run)):
        equal = 9 * layers * blocks * c**2 - (9 * c**2 // 2 if number else 0)
        count += (17 * blocks - 3) * c**2 if narrow else equal
    return 12 * count


def activations(run: Run) -> int:
    """Bytes that the backward pass of one step needs: each convolution's output, and what the norm makes of it."""
    outputs = 6 if run.model.block == "bottleneck" else LAYERS[run.model.block]
    numbers = sum(outputs * blocks * c * side**2 for blocks, c, side in _stages(run))
    if run.model.family == "dense":  # each layer keeps all that it takes
        numbers = sum(c.inputs * (_side(run) // 2**c.stage) ** 2 for c in _dense(run))
    kept = 1 if run.model.norm in BARE else 2
    return run.optim.batch // run.env.devices * numbers * kept * (2 if run.optim.precision == "bf16" else 4)


def _stages(run: Run) -> Iterator[tuple[int, int, int]]:
    """Of each stage: its blocks, the channels of their 3 x 3 convolutions, pixels on a side."""
    model = run.model
    for number, blocks in enumerate(stages(model.family, model.depth, model.block)):
        yield blocks, model.width * 2**number, _side(run) // 2**number


def _side(run: Run) -> int:
    """Pixels on a side of the maps of the first stage."""
    return (run.data.size or SIDES.get(run.data.name, LEAST)) // FAMILIES[run.model.family].reduction


def _dense(run: Run) -> list[Convolution]:
    return dense_convolutions(run.model.depth, run.model.width, run.model.growth)


@lru_cache(maxsize=1)
def available() -> int:
    """Bytes of this machine's memory, or of what its control group may take, if that is less."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in LIMITS:
        try:
            found.append(int(limit.read_text(encoding="utf-8")))
        except (OSError, ValueError):  # not there, or `max`
            continue
    return min(found)


def _on_gpu(run: Run) -> bool:
    return run.env.device == "cuda" or (run.env.device == "auto" and bool(visible_gpus()))


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.1f} GB"
