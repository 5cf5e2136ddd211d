"""What is measured of a run: one table with one row per quantity, from which every column, label and bound comes.

No torch, no pandas: planning, training and reporting share it.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """Something measured of a run, by the name it has in records, columns, claims and figures.

    words: what it is, as an axis label says it without its unit. unit: `%`, `nats`, or none.
    kind: an `error` is a share of wrong answers in percent, and that of a diverged run counts as the highest; a `share`
        is yes or no for each run, and over seeds the share of those with yes; a `value` is any other number.
    low, high: the range of values it can take; an interval of its mean is cut to it.
    head, subhead: the column of a table; quantities with one head stand side by side.
    x: what it is measured for each of, in words (`layer`); a run then has a value for each, at each step measured, and
        no number of its own. Empty for a scalar.
    y: in words, the second axis of what is measured for each pair of an x and a y: a surface.
    log: whether a logarithmic axis fits it.
    curve: the setting that spaces its points on the way (`curve_every`), where it is measured while a run is trained.
    of: the metric from which, or from whose points, it is computed when a report is made (analysis/summaries.py), so
        that it costs no training; empty for what is measured itself.
    """

    name: str
    words: str
    unit: str
    kind: str
    low: float
    high: float
    head: str
    subhead: str = ""
    x: str = ""
    y: str = ""
    log: bool = False
    curve: str = ""
    of: str = ""

    @property
    def label(self) -> str:
        """The words with the unit: `test error, %`."""
        return _with_unit(self.words, self.unit)

    @property
    def column(self) -> tuple[str, str]:
        """Head, with the unit, and subhead of its column in a table."""
        return _with_unit(self.head, self.unit), self.subhead


def _with_unit(words: str, unit: str) -> str:
    return f"{words}, {unit}" if unit else words


def _error(name: str, words: str, head: str, subhead: str = "", curve: str = "") -> Quantity:
    return Quantity(name, words, "%", "error", 0, 100, head, subhead, curve=curve)


def _lesion(name: str, words: str, subhead: str, x: str) -> list[Quantity]:
    """The error with batch-norm statistics as trained, and with those of what is left."""
    both = (("", "", ""), ("_recomputed", ", statistics recomputed", ", recomputed"))
    return [Quantity(name + n, words + w, "%", "error", 0, 100, "error", subhead + s, x=x) for n, w, s in both]


def _loss(name: str, words: str, subhead: str, x: str, y: str = "") -> Quantity:
    return Quantity(name, words, "nats", "value", 0, math.inf, "loss", subhead, x=x, y=y, log=True)


def _around(name: str, words: str, subhead: str, x: str, y: str = "") -> list[Quantity]:
    """The loss with batch-norm statistics as trained, and with those of the batch at each point."""
    both = (("", "", ""), ("_recomputed", ", statistics recomputed", ", recomputed"))
    return [_loss(name + n, words + w, subhead + s, x, y) for n, w, s in both]


def _rise(name: str, of: str, words: str) -> Quantity:
    """A difference of errors of one network."""
    return Quantity(name, words, "percentage points", "value", -100, 100, words, of=of)


def _share(name: str, words: str) -> Quantity:
    return Quantity(name, words, "", "share", 0, 1, "runs", name)


LAYER = "layer, from the input"
BLOCK = "block, from the input"
STEP_SIZE = "step size, along the gradient"
DISTANCE = "distance along a random direction"
OTHER_DISTANCE = "along another one"
PATH = "residual branches on the path"
LAG = "lag, steps of 1/255 of the line"


def _correlation(name: str, words: str, head: str, subhead: str, x: str = "") -> Quantity:
    return Quantity(name, words, "", "value", -1, 1, head, subhead, x=x)


def _per_layer(name: str, words: str, head: str, subhead: str, x: str = LAYER) -> Quantity:
    return Quantity(name, words, "", "value", 0, math.inf, head, subhead, x=x, log=True)


def _summary(name: str, of: str, words: str, low: float, high: float) -> Quantity:
    return Quantity(name, words, "", "value", low, high, words.split(",", maxsplit=1)[0], of=of)


def _of_losses(name: str, of: str, words: str, unit: str, ends: tuple[float, float]) -> list[Quantity]:
    """A summary of the loss with batch-norm statistics as trained, and of that with those of the batch."""
    both = (("", "", ""), ("_recomputed", ", statistics recomputed", "recomputed"))
    return [Quantity(name + n, words + w, unit, "value", *ends, words, s, of=of + n) for n, w, s in both]


TRAINING = "training error"

QUANTITIES = {
    q.name: q
    for q in (
        _error(
            "train_error_running",
            "training error, running (augmented batches, training mode)",
            TRAINING,
            "running",
            curve="curve_every",
        ),
        _error("train_error_augmented", "training error (augmented images, evaluation mode)", TRAINING, "augmented"),
        _error("train_error_clean", "training error (clean images, evaluation mode)", TRAINING, "clean"),
        _error(
            "train_error_exact_bn", "training error (clean images, exact batch-norm statistics)", TRAINING, "exact BN"
        ),
        _error("valid_error", "validation error", "validation error"),
        _error("test_error", "test error", "test error", curve="eval_every"),
        _error("test_error_exact_bn", "test error (exact batch-norm statistics)", "test error", "exact BN"),
        Quantity(
            "train_loss",
            "training loss, running (cross-entropy)",
            "nats",
            "value",
            0,
            math.inf,
            "training loss",
            curve="curve_every",
        ),
        _per_layer(
            "gradient_norm_output", "norm of the gradient by the output of the layer", "gradient norm", "by output"
        ),
        _per_layer(
            "gradient_norm_weight", "norm of the gradient by the weight of the layer", "gradient norm", "by weight"
        ),
        _per_layer("output_rms", "output of the layer, root mean square", "output", "RMS"),
        _per_layer(
            "gradient_norm_block", "norm of the gradient by the input of the block", "gradient norm", "by block", BLOCK
        ),
        _per_layer(
            "gradient_norm_shortcuts",
            "norm of the gradient by the input of the block, of what comes back over shortcuts alone",
            "gradient norm",
            "over shortcuts",
            BLOCK,
        ),
        *_lesion("error_without_block", "error without a block", "without a block", f"{BLOCK}; 0: none is deleted"),
        *_lesion("error_without_blocks", "error without blocks", "without blocks", "number of blocks deleted"),
        *_lesion("error_shuffled", "error with blocks swapped", "with blocks swapped", "number of swaps of two blocks"),
        _per_layer("gradient_norm_path", "norm of the gradient over one path", "gradient norm", "over a path", PATH),
        _per_layer(
            "gradient_norm_paths", "norm of the gradient over paths of a length", "gradient norm", "over paths", PATH
        ),
        _per_layer("response_std", "response of the layer, standard deviation", "response", "standard deviation"),
        _correlation(
            "gradient_acf", "autocorrelation of the gradient along a line of inputs", "gradient", "autocorrelation", LAG
        ),
        _correlation(
            "gradient_acf_images",
            "autocorrelation of the gradient along a line of inputs (batch-norm statistics of images)",
            "gradient",
            "autocorrelation, image statistics",
            LAG,
        ),
        _correlation("output_cosine", "cosine of the outputs for two images, mean", "cosine", "of outputs", LAYER),
        _correlation(
            "gradient_cosine",
            "cosine of the gradients of a logit by the outputs for two images, mean",
            "cosine",
            "of gradients",
            LAYER,
        ),
        Quantity(
            "output_rank",
            "effective dimension of the outputs over images",
            "",
            "value",
            1,
            math.inf,
            "output",
            "dimension",
            x=LAYER,
            log=True,
        ),
        Quantity(
            "jacobian_singular_value",
            "singular value of the Jacobian of the features by the image",
            "",
            "value",
            0,
            math.inf,
            "Jacobian",
            "singular value",
            x="singular value, from the largest",
            log=True,
        ),
        Quantity(
            "identity_error",
            "distance from the identity after training towards it, relative",
            "",
            "value",
            0,
            math.inf,
            "identity",
            "distance",
            x="blocks in a row",
            log=True,
        ),
        _summary(
            "identity_error_of_one",
            "identity_error",
            "distance of one block from the identity, after training towards it",
            0,
            math.inf,
        ),
        _summary(
            "identity_error_of_four",
            "identity_error",
            "distance of four blocks from the identity, after training towards it",
            0,
            math.inf,
        ),
        _loss("loss_along_gradient", "loss after a step along the gradient", "along the gradient", STEP_SIZE),
        _per_layer(
            "gradient_change",
            "norm of the change of the gradient after a step along it",
            "gradient",
            "change",
            STEP_SIZE,
        ),
        _per_layer(
            "gradient_smoothness",
            "change of the gradient over the distance moved along it",
            "gradient",
            "change over distance",
            STEP_SIZE,
        ),
        _summary(
            "effective_smoothness",
            "gradient_smoothness",
            "effective β-smoothness, median over the looks",
            0,
            math.inf,
        ),
        Quantity(
            "hessian_eigenvalue",
            "eigenvalue of the Hessian of the loss",
            "",
            "value",
            -math.inf,
            math.inf,
            "Hessian",
            "eigenvalue",
            x="-1: the smallest, 1: the largest",
        ),
        *_around("loss_on_line", "loss along a random direction", "on a line", DISTANCE),
        *_around("loss_on_plane", "loss along two random directions", "on a plane", DISTANCE, OTHER_DISTANCE),
        _summary(
            "sharpness",
            "hessian_eigenvalue",
            "largest eigenvalue of the Hessian, after the last step",
            -math.inf,
            math.inf,
        ),
        _summary(
            "sharpness_start",
            "hessian_eigenvalue",
            "largest eigenvalue of the Hessian before the first step",
            -math.inf,
            math.inf,
        ),
        _summary(
            "nonconvexity",
            "hessian_eigenvalue",
            "smallest over largest eigenvalue of the Hessian, with its sign changed, after the last step",
            -math.inf,
            math.inf,
        ),
        *_of_losses(
            "line_rise",
            "loss_on_line",
            "loss half a filter's length along a random direction minus at the network",
            "nats",
            (-math.inf, math.inf),
        ),
        *_of_losses(
            "nonconvex_share", "loss_on_plane", "share of the plane on which the loss is not convex", "", (0, 1)
        ),
        _per_layer(
            "covariate_shift",
            "change of the gradient by the weight as the layers before it take their step",
            "covariate shift",
            "of the gradient",
        ),
        _correlation(
            "covariate_shift_cosine",
            "cosine of the gradients by the weight before and after the layers before it take their step",
            "covariate shift",
            "cosine of the gradients",
            LAYER,
        ),
        _per_layer(
            "mean_shift",
            "shift of the mean of the layer's input as the layers before it take their step, in standard deviations",
            "covariate shift",
            "of the mean of the input",
        ),
        _summary(
            "gradient_alignment",
            "covariate_shift_cosine",
            "cosine of the gradients before and after the layers before take their step, median over layers and looks",
            -1,
            1,
        ),
        _summary(
            "gradient_alignment_start",
            "covariate_shift_cosine",
            "cosine of the gradients before and after the layers before take their first step, median over layers",
            -1,
            1,
        ),
        _summary(
            "median_mean_shift",
            "mean_shift",
            "shift of the mean of a layer's input as the layers before take their step, median over layers and looks",
            0,
            math.inf,
        ),
        _summary("gradient_acf_1", "gradient_acf", "autocorrelation at lag 1, before the first step", -1, 1),
        _summary(
            "gradient_acf_images_1",
            "gradient_acf_images",
            "autocorrelation at lag 1 (batch-norm statistics of images), before the first step",
            -1,
            1,
        ),
        _summary(
            "output_cosine_last",
            "output_cosine",
            "cosine of the outputs of the last convolution for two images, before the first step",
            -1,
            1,
        ),
        _summary(
            "gradient_cosine_first",
            "gradient_cosine",
            "cosine of the gradients by the outputs of the first layer for two images, before the first step",
            -1,
            1,
        ),
        _summary(
            "output_rank_last",
            "output_rank",
            "effective dimension of the outputs of the last convolution, before the first step",
            1,
            math.inf,
        ),
        _summary(
            "jacobian_rank",
            "jacobian_singular_value",
            "effective dimension of the Jacobian of the features, before the first step",
            1,
            math.inf,
        ),
        Quantity(
            "gradient_slope",
            "slope of log10 of the gradient by the output, before the first step",
            "decades per 100 layers",
            "value",
            -math.inf,
            math.inf,
            "gradient slope",
            of="gradient_norm_output",
        ),
        Quantity(
            "gradient_slope_end",
            "slope of log10 of the gradient by the output, after the last step",
            "decades per 100 layers",
            "value",
            -math.inf,
            math.inf,
            "gradient slope",
            "at the end",
            of="gradient_norm_output",
        ),
        _summary(
            "gradient_factor",
            "gradient_norm_block",
            "factor of the gradient per block, towards the input, before the first step",
            0,
            math.inf,
        ),
        _summary(
            "shortcut_gradient_factor",
            "gradient_norm_shortcuts",
            "factor over shortcuts alone per block, towards the input, before the first step",
            0,
            math.inf,
        ),
        _summary(
            "response_std_end",
            "response_std",
            "response, standard deviation, median over the layers, after the last step",
            0,
            math.inf,
        ),
        _rise("deletion_rise", "error_without_block", "error without a block minus with it"),
        _rise(
            "deletion_rise_recomputed",
            "error_without_block_recomputed",
            "error without a block minus with it, statistics recomputed",
        ),
        _rise("transition_excess", "error_without_block", "error without a transition minus without another block"),
        _rise("deletion_jump", "error_without_blocks", "largest rise of the error by one block less"),
        _rise("half_deleted_rise", "error_without_blocks", "error without half of the blocks minus with them"),
        _rise(
            "half_deleted_rise_recomputed",
            "error_without_blocks_recomputed",
            "error without half of the blocks minus with them, statistics recomputed",
        ),
        _rise("swap_rise", "error_shuffled", "error after one swap of blocks minus before"),
        _rise("shuffling_rise", "error_shuffled", "error after the most swaps of blocks minus before"),
        _summary("path_length", "gradient_norm_path", "mean share of the blocks on a path, by its gradient", 0, 1),
        _summary(
            "short_path_share",
            "gradient_norm_path",
            "share of paths through half the blocks at most, by their gradients",
            0,
            1,
        ),
        _summary(
            "paths_length",
            "gradient_norm_paths",
            "mean share of the blocks on paths of a length, by their gradient together",
            0,
            1,
        ),
        Quantity(
            "running_statistics_excess",
            "training error with running minus with exact batch-norm statistics",
            "percentage points",
            "value",
            -100,
            100,
            "training error",
            "running minus exact BN",
            of="train_error_clean",
        ),
        _share("diverged", "share of seeds that diverged (non-finite loss)"),
        _share("stuck", "share of seeds stuck at chance (training error)"),
        _share("failed", "share of seeds that failed (test error above 20 %, He et al. 2016, table 1)"),
    )
}
"""Every quantity by its name, in the order of columns."""

ERRORS = tuple(name for name, q in QUANTITIES.items() if q.kind == "error" and not q.x)
"""Those of the whole network, as it is."""
SHARES = tuple(name for name, q in QUANTITIES.items() if q.kind == "share")
PROFILES = tuple(name for name, q in QUANTITIES.items() if q.x and not q.y)
"""What a run has along an axis of the quantity's own: a value for each layer."""
SURFACES = tuple(name for name, q in QUANTITIES.items() if q.y)
"""What a run has over two axes."""
SUMMARIES = tuple(name for name, q in QUANTITIES.items() if q.of)
"""What a report computes of a run's points."""
METRICS = tuple(name for name in QUANTITIES if name not in SHARES + PROFILES + SURFACES + SUMMARIES)
"""What a run is measured to have as a number of its own: errors and values."""
CURVES = tuple(name for name, q in QUANTITIES.items() if q.curve)
"""What has points while a run is trained."""


def of_diverged(name: str) -> float | None:
    """What a metric of a run whose outputs are no numbers counts as: an error as the highest, a value as none."""
    return QUANTITIES[name].high if name in ERRORS else None
