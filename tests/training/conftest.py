"""A run that takes a second: eight layers, four channels, on the real digits."""

from pathlib import Path

import pytest

from resnet_repro import data
from resnet_repro.settings import compose

TINY = ("task=digits", "model.depth=8", "model.width=4", "optim.milestones=[20]")


@pytest.fixture
def tiny(tmp_path):
    """Makes a run from overrides on top of TINY, its records under the test's own folder."""
    return lambda *overrides: compose([*TINY, f"env.runs_dir={tmp_path}/runs", *overrides])


@pytest.fixture(scope="session")
def digits():
    return data.load("digits", Path("data"))
