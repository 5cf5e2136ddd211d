"""The table of quantities: one row each, and nothing that is told by a name."""

import math

import pytest

from resnet_repro import metrics
from resnet_repro.analysis.claims import mean_of
from resnet_repro.metrics import ERRORS, METRICS, PROFILES, QUANTITIES, SHARES, SUMMARIES, SURFACES, Quantity


def test_every_quantity_has_words_a_range_and_a_column():
    for name, q in QUANTITIES.items():
        assert (q.name, q.kind) in {(name, kind) for kind in ("error", "share", "value")}
        assert q.words.strip()
        assert q.head.strip()
        assert q.low < q.high
        assert (q.unit == "%", q.high) == (q.kind == "error", {"error": 100, "share": 1}.get(q.kind, q.high))
    assert (
        len({q.label for q in QUANTITIES.values()}) == len({q.column for q in QUANTITIES.values()}) == len(QUANTITIES)
    )


def test_every_quantity_is_a_metric_a_share_a_profile_a_surface_or_a_summary():
    assert sorted(METRICS + SHARES + PROFILES + SURFACES + SUMMARIES) == sorted(QUANTITIES)
    assert set(ERRORS) < set(METRICS)


@pytest.mark.parametrize("kind", ["value", "error"])
def test_an_interval_is_cut_to_the_range_of_its_quantity(kind, monkeypatch):
    """Student's interval of -0.6, -0.5, -0.7 is -0.6 ± 4.303 · 0.1 / √3; a name with `error` in it decides nothing."""
    bounds = (0, 100) if kind == "error" else (-math.inf, math.inf)
    monkeypatch.setitem(metrics.QUANTITIES, "error_gap", Quantity("error_gap", "gap", "", kind, *bounds, "gap"))
    e = mean_of("error_gap", [-0.6, -0.5, -0.7])
    assert e.low == pytest.approx(0 if kind == "error" else -0.8484, abs=1e-4)
    assert e.high == pytest.approx(-0.3516, abs=1e-4)


def test_the_loss_is_never_below_0():
    assert mean_of("train_loss", [0.1, 0.5]).low == 0


def test_a_diverged_run_counts_as_the_highest_error_and_has_no_loss():
    assert {metrics.of_diverged(name) for name in ERRORS} == {100}
    assert metrics.of_diverged("train_loss") is None
