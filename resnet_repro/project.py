"""Which folders make the project: what comes with this program, and what is the user's own beside it.

in a checkout   both are the checkout, wherever a command is started
installed       conf/, experiments/ and results/ lie in the package, and nothing is written there; the user's own,
                under the same names, in the working folder: own experiments and settings stand beside those of
                the package, and what is measured goes to the own results/
"""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
INSTALLED = (PACKAGE / "conf").is_dir()
"""Whether this is a wheel's package: pyproject.toml puts the folders into it."""
ROOT = PACKAGE if INSTALLED else PACKAGE.parent
"""What comes with the program."""
OWN = Path.cwd() if INSTALLED else ROOT

CONF = ROOT / "conf"
EXPERIMENTS = tuple(dict.fromkeys((OWN / "experiments", ROOT / "experiments")))
"""Where experiment files lie. Of two with one name the first, the user's own, is the one that is meant."""

COMMITTED = ROOT / "results"
"""What the authors measured."""
RESULTS = OWN / "results"
LOCAL = RESULTS if INSTALLED else RESULTS / "local"
"""What is measured here: in a checkout in a place of its own, which git ignores; `publish` takes it to RESULTS."""

CONFIG_DIR = "RESNET_REPRO_CONFIG_DIR"
"""The variable that says where the user's own settings lie, to every process that a command starts."""


def own_conf() -> Path | None:
    """The folder of the user's own groups of settings (`task/mine.yaml`), if there is one."""
    folder = Path(os.environ.get(CONFIG_DIR) or OWN / "conf").absolute()
    return folder if folder != CONF and folder.is_dir() else None
