import pytest
import torch

from resnet_repro.probes.status import status, status_flags

LABELS = torch.arange(1000) % 10


def flags(train_error, test_error, labels=LABELS, diverged=False):
    return status_flags({"train_error_clean": train_error, "test_error": test_error}, labels, diverged)


@pytest.mark.parametrize(
    ("train_error", "test_error", "expected"),
    [
        (0.0, 8.8, "finished"),
        (15.0, 20.0, "finished"),
        (15.0, 20.1, "failed"),
        (87.0, 90.0, "failed"),
        (90, 90, "stuck"),
    ],
)
def test_the_status_follows_from_the_errors(train_error, test_error, expected):
    assert status(flags(train_error, test_error)) == expected


def test_divergence_goes_before_all_else_and_flags_say_all():
    found = flags(100.0, 100.0, diverged=True)
    assert found == {"diverged": True, "stuck": True, "failed": True}
    assert status(found) == "diverged"


def test_stuck_means_within_three_standard_errors_of_naming_the_largest_class():
    # Always naming class 0 misses 40 % of these; binomial standard error sqrt(0.4 0.6 / 1000) = 1.549 %.
    labels = torch.tensor([0] * 600 + [1] * 400)
    assert flags(35.4, 0.0, labels)["stuck"]
    assert not flags(35.3, 0.0, labels)["stuck"]
