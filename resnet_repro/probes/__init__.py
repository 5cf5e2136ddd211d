"""What is measured on a network, one file per kind of measurement; the table of those that a run can be asked for.

The table is without torch, for planning as for training: a probe's file is imported where it measures.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

WHEN = ("start", "during", "end")
"""Before the first step, every so many steps, after the last one."""

Reading = tuple[str, float | None, float | None, float]
"""What a probe returns a list of: metric, x, y, value; a scalar has neither x nor y (None)."""


@dataclass(frozen=True)
class Probe:
    """A measurement that a run can be asked for (`measure.probes`).

    name: that of its file, whose function `measure(net, batch)` returns the readings. `net` is a copy of its own, which
    it may change, `batch` a `probes.batch.Batch`. when: out of WHEN. quantities: the metrics of its readings, rows of
    `metrics.QUANTITIES`. steps: as many steps of training take as long as a look, at most (benchmarks/probes.py: of
    plain and residual nets of 20 and 56 layers on digits).
    """

    name: str
    when: tuple[str, ...]
    quantities: tuple[str, ...]
    steps: int

    def measure(self, net: Any, batch: Any) -> list[Reading]:
        """What it measures on a network and a batch."""
        return import_module(f"{__name__}.{self.name}").measure(net, batch)

    def due(self, step: int, every: int, ended: bool) -> bool:
        """Whether it looks at the network after `step` steps; every: steps between looks, 0 for none in between."""
        during = every > 0 and step > 0 and step % every == 0
        found = {"start": step == 0, "during": during, "end": ended}
        return any(found[when] for when in self.when)

    def cost(self, steps: int, every: int) -> int:
        """As many steps as all its looks at a run of so many steps take."""
        looks = {0, steps, *(range(every, steps + 1, every) if every else ())}
        return self.steps * sum(self.due(step, every, step == steps) for step in looks)


PROBES = {
    probe.name: probe
    for probe in (
        Probe("covariate_shift", WHEN, ("covariate_shift", "covariate_shift_cosine", "mean_shift"), 35),
        Probe("curvature", WHEN, ("hessian_eigenvalue",), 110),
        Probe("gradients", WHEN, ("gradient_norm_output", "gradient_norm_weight", "output_rms"), 3),
        Probe("identity_fit", ("start", "end"), ("identity_error",), 116),
        Probe("shortcut_gradients", WHEN, ("gradient_norm_block", "gradient_norm_shortcuts"), 2),
        Probe(
            "lesions",
            ("end",),
            tuple(
                metric + ending
                for ending in ("", "_recomputed")
                for metric in ("error_without_block", "error_without_blocks", "error_shuffled")
            ),
            110,
        ),
        Probe("paths", WHEN, ("gradient_norm_path", "gradient_norm_paths"), 32),
        Probe("responses", WHEN, ("response_std",), 2),
        Probe("shattering", WHEN, ("gradient_acf", "gradient_acf_images"), 29),
        Probe("similarity", WHEN, ("output_cosine", "output_rank", "gradient_cosine"), 3),
        Probe("smoothness", WHEN, ("loss_along_gradient", "gradient_change", "gradient_smoothness"), 6),
        Probe(
            "surface",
            ("end",),
            ("loss_on_line", "loss_on_plane", "loss_on_line_recomputed", "loss_on_plane_recomputed"),
            285,
        ),
        Probe("spectrum", WHEN, ("jacobian_singular_value",), 7),
    )
}


def lacking(had: dict[str, int], asked: Iterable[str], every: int) -> list[str]:
    """Of the probes asked for at looks `every` steps apart, those that were not made, or not at all of these steps.

    had: the probes that were made, each with the steps between its looks; 0: at the start and at the end only.
    """
    return [name for name in asked if name not in had or (every and not (had[name] and every % had[name] == 0))]
