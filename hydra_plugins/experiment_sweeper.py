"""Hydra's sweeper for experiments: plans the runs, then hands the missing ones to whatever launcher is configured.

With `hydra.sweeper.experiment=ID` the grid is that of experiments/ID.yaml; without, that of the command line
(`-m model=plain,resnet seed=0,1,2`). Kept light: every Hydra application of the environment imports this file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, read_write


@dataclass
class ExperimentSweeperConf:
    _target_: str = "hydra_plugins.experiment_sweeper.ExperimentSweeper"
    experiment: str | None = None
    results: str | None = None  # where the experiment's figures and tables are kept up to date meanwhile


class ExperimentSweeper(Sweeper):
    """Plans, validates, skips what is finished, launches the rest seed by seed."""

    def __init__(self, experiment: str | None, results: str | None) -> None:
        self.experiment, self.results = experiment, results

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from resnet_repro import errors, places

        places.stop_the_clock()
        with errors.told(), read_write(config):
            for name in places.PATHS:
                config.env[name] = places.absolute(f"env.{name}", config.env[name])
            self.launcher: Launcher = Plugins.instance().instantiate_launcher(
                hydra_context=hydra_context, task_function=task_function, config=config
            )

    def sweep(self, arguments: list[str]) -> Any:
        """Trains the missing runs. Raises SystemExit when some crashed, after listing them, or for a user's error."""
        from resnet_repro import errors, experiment, grammar, planning
        from resnet_repro.jobs import drive

        with errors.told():
            if self.experiment is None:
                return drive.train_missing(planning.expand([grammar.product(arguments)]), self.launcher)
            spec = experiment.load(self.experiment)
            results = None if self.results is None else Path(self.results)
            return drive.train_missing(planning.plan(spec, arguments), self.launcher, spec, results)


ConfigStore.instance().store(
    group="hydra/sweeper", name="experiment", node=ExperimentSweeperConf, provider="resnet_repro"
)
