"""Hydra's launcher for a Slurm cluster: one job array, one job per run or per pack of runs, through submitit.

It submits and returns; the sweep watches the run folders and Slurm's queue (jobs/slurm.py), so a job that is
killed takes no other with it, and a sweep that is started again finds its jobs. The options' meanings stand in
conf/hydra/launcher/slurm.yaml.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class SlurmLauncherConf:
    _target_: str = "hydra_plugins.slurm_launcher.SlurmLauncher"
    detached: bool = False
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    timeout_min: int = 60
    mem_gb: float | None = None
    gpus_per_node: int | None = None
    cpus_per_task: int | None = None
    constraint: str | None = None
    array_parallelism: int = 256
    signal_delay_s: int = 120
    setup: list[str] = field(default_factory=list)
    additional_parameters: dict[str, Any] = field(default_factory=dict)
    pack: int | None = None


class SlurmLauncher(Launcher):
    """Submits the runs as one job array. With `detached`, the sweep ends once they are submitted."""

    at_once = 1  # Slurm decides how many jobs run; their packs may be as large as allowed

    def __init__(
        self, detached: bool, additional_parameters: Any, setup: Any, pack: int | None, **options: Any
    ) -> None:
        self.detached, self.pack = detached, pack
        self.options = options
        self.setup_commands = list(setup)
        self.additional = {"requeue": True, **additional_parameters}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.runs_dir = Path(config.env.runs_dir)
        self.options["nodes"] = config.trainer.num_nodes
        self.tasks = -(-config.env.devices // config.trainer.num_nodes)  # on each node, one for each device
        for name, one_each in (("gpus_per_node", self.tasks), ("cpus_per_task", config.env.threads)):
            if self.options[name] is None:
                self.options[name] = one_each

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submits a job for each run; the returns' status stays UNKNOWN. Raises UserError where Slurm refuses."""
        return self.launch_packs([[overrides] for overrides in job_overrides], initial_job_idx)

    def launch_packs(self, packs: Sequence[Sequence[Sequence[str]]], initial_job_idx: int) -> list[JobReturn]:
        """Submits a job for each pack, given by the overrides of its runs; otherwise as `launch`."""
        from resnet_repro.jobs import slurm

        jobs = self._submitted([[list(overrides) for overrides in pack] for pack in packs])
        for pack, job in zip(packs, jobs, strict=True):
            for overrides in pack:
                slurm.remember(overrides, job.job_id, job.paths.stderr)
        array = jobs[0].job_id.split("_")[0]
        print(f"Slurm: {len(jobs)} jobs submitted, {array}; their output in {jobs[0].paths.folder}", flush=True)
        return [JobReturn(overrides=list(overrides)) for pack in packs for overrides in pack]

    def _submitted(self, packs: list[list[list[str]]]) -> list[Any]:
        from resnet_repro.errors import UserError

        try:
            import submitit
        except ImportError as error:
            raise UserError("the Slurm launchers need submitit: pip install 'resnet-repro[slurm]'") from error
        from resnet_repro.jobs import slurm

        names = {"timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "nodes"}
        given = {k: v for k, v in self.options.items() if v not in (None, 0)}  # no GPUs: do not mention them
        options = {k if k in names else f"slurm_{k}": v for k, v in given.items()}
        try:
            executor = submitit.AutoExecutor(self.runs_dir / "slurm", cluster="slurm")
            executor.update_parameters(
                name="resnet_repro",
                tasks_per_node=self.tasks,
                slurm_setup=self.setup_commands,
                slurm_additional_parameters=self.additional,
                # A rank that fails ends the others.
                slurm_srun_args=[f"--cpus-per-task={self.options['cpus_per_task']}", "--kill-on-bad-exit=1"],
                **options,
            )
            return executor.map_array(slurm.job, packs)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            raise UserError(f"nothing was submitted: {error}") from error


ConfigStore.instance().store(
    group="hydra/launcher", name="slurm_options", node=SlurmLauncherConf, provider="resnet_repro"
)
