"""How a run ended: finished, diverged, stuck or failed. Each is a result, counted and shown."""

from collections.abc import Mapping

from torch import Tensor

FAILED_ABOVE = 20.0
"""He et al. 2016, table 1: a run whose test error is above 20 % has failed."""


def status_flags(errors: Mapping[str, float], labels: Tensor, diverged: bool) -> dict[str, bool]:
    """What is true of a run with these final errors (percent) and training labels [N]; several may be.

    diverged: its loss became non-finite. stuck: its `train_error_clean` is no better than always naming the largest
    class, within three standard errors. failed: its `test_error` is above 20 %.
    """
    chance = 1 - float(labels.bincount().max()) / len(labels)
    threshold = 100 * (chance - 3 * (chance * (1 - chance) / len(labels)) ** 0.5)
    return {
        "diverged": diverged,
        "stuck": errors["train_error_clean"] >= threshold,
        "failed": errors["test_error"] > FAILED_ABOVE,
    }


def status(flags: Mapping[str, bool]) -> str:
    """The first of diverged, stuck and failed that is true; else `finished`."""
    return next((name for name in ("diverged", "stuck", "failed") if flags[name]), "finished")
