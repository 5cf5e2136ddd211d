"""A whole Slurm on this machine, on loopback, in a folder: munge, slurmctld, slurmd, two partitions, two fake GPUs.

    python benchmarks/loopback_slurm.py python -m resnet_repro.sweep tiny --launcher slurm

starts it (about 1 s), runs the command in it, and ends it. Needs Debian's packages `slurm-wlm
slurm-wlm-basic-plugins munge`; works as root (with fake GPUs) and as an ordinary user (without). There is no
accounting database, jobs in the partition `low` give way to those in `high` after a grace time.
"""

import getpass
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")

SLURM_CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A requeued job is held back until its old credential has expired: seconds here instead of two minutes.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0,bf_interval=1
SchedulerTimeSlice=5
ReturnToService=2
SlurmdTimeout=10
KillWait=3
MinJobAge=300
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{gres_types}
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=2000 State=UNKNOWN {gres}
PartitionName=low Nodes={host} Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
PartitionName=high Nodes={host} State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> list[str]:
    """The programs a loopback Slurm needs that are not installed."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


@dataclass
class Loopback:
    """A running Slurm. `env` is the environment in which its commands work."""

    folder: Path
    gpus: int
    cpus: int
    env: dict[str, str]
    daemons: dict[str, subprocess.Popen] = field(default_factory=dict)

    def start(self, name: str, *arguments: str) -> None:
        """Starts a daemon in the foreground of its own process, its output in log/."""
        with open(self.folder / "log" / f"{name}.out", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                [name, *arguments], env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )

    def stop(self, name: str) -> None:
        """Ends a daemon; jobs go on without it."""
        daemon = self.daemons.pop(name)
        daemon.terminate()
        daemon.wait(timeout=30)

    def command(self, *words: str) -> str:
        """The output of a Slurm command. Raises CalledProcessError."""
        return subprocess.run(words, env=self.env, capture_output=True, encoding="utf-8", check=True, timeout=60).stdout

    def wait_until(self, state: str, seconds: float = 30) -> None:
        """Waits until the node is in a state. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            said = subprocess.run(
                ["sinfo", "-h", "-o", "%T"], env=self.env, capture_output=True, encoding="utf-8", check=False
            )
            if state in said.stdout:
                return
            time.sleep(0.05)
        raise TimeoutError(
            f"the node is not {state} after {seconds} s, but {said.stdout or said.stderr}; see {self.folder}/log"
        )


NOT_COMPARED = ("provenance", "overrides", "command", "group", "sha256")
"""What a record says of its making; the rest, curves included, must not depend on where a run was interrupted."""


def records_of(folder: Path) -> dict[str, Any]:
    """The records in a folder's runs/ by run, without what may differ between two trainings of one run."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("runs/*/record.json")]
    return {r["run_id"]: {k: v for k, v in r.items() if k not in NOT_COMPARED} for r in records}


@contextmanager
def loopback(folder: Path, gpus: int = 2, cpus: int | None = None, grace: int = 2) -> Iterator[Loopback]:
    """Starts Slurm in `folder`; at the end cancels its jobs and ends its daemons. Raises TimeoutError.

    grace: seconds from TERM to the end of a preempted job, at the least; Slurm looks every 30 s. 0: it ends at once.
    """
    cluster = _write(folder, gpus, cpus or max(2, len(os.sched_getaffinity(0))), grace)
    try:
        _start(cluster)
        cluster.wait_until("idle")
        yield cluster
    finally:
        _end(cluster)


def _write(folder: Path, gpus: int, cpus: int, grace: int) -> Loopback:
    for name in ("state", "spool", "log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    host = socket.gethostname().split(".")[0]
    gpus = _fake_gpus(folder, gpus, host)
    settings = {
        "host": host, "user": getpass.getuser(), "folder": folder, "ports": _free_ports(2), "cpus": cpus,
        "grace": grace, "gres_types": "GresTypes=gpu" if gpus else "", "gres": f"Gres=gpu:{gpus}" if gpus else "",
    }  # fmt: skip
    (folder / "slurm.conf").write_text(SLURM_CONF.format(**settings), encoding="utf-8")
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
    env |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": env.get("PATH", "") + ":/usr/sbin:/sbin"}
    return Loopback(folder, gpus, cpus, env)


def _fake_gpus(folder: Path, count: int, host: str) -> int:
    """Null devices for Slurm to hand out as GPUs, where this user may make some; returns how many there are."""
    try:
        for k in range(count):
            os.mknod(folder / f"gpu{k}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        return 0
    lines = [f"NodeName={host} Name=gpu File={folder}/gpu{k}\n" for k in range(count)]
    (folder / "gres.conf").write_text("".join(lines), encoding="utf-8")
    return count


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _start(cluster: Loopback) -> None:
    at = cluster.folder
    cluster.start(
        "munged", "--foreground", "--force", "--num-threads=2", f"--key-file={at}/munge.key",
        f"--socket={at}/munge.socket", f"--pid-file={at}/munged.pid", f"--seed-file={at}/munged.seed",
        f"--log-file={at}/log/munged.log",
    )  # fmt: skip
    while not (at / "munge.socket").exists():
        if cluster.daemons["munged"].poll() is not None:
            raise RuntimeError(f"munged did not start; see {at}/log")
        time.sleep(0.02)
    cluster.start("slurmctld", "-D", "-c", "-f", f"{at}/slurm.conf")
    cluster.start("slurmd", "-D", "-f", f"{at}/slurm.conf")


def _end(cluster: Loopback) -> None:
    if "slurmctld" in cluster.daemons:
        subprocess.run(
            ["scancel", "--me", "--full", "--signal=KILL"], env=cluster.env, capture_output=True, check=False
        )
        subprocess.run(["scancel", "--me"], env=cluster.env, capture_output=True, check=False)
        for _ in range(100):
            left = subprocess.run(["squeue", "-h"], env=cluster.env, capture_output=True, encoding="utf-8", check=False)
            if not left.stdout:
                break
            time.sleep(0.1)
    for name in reversed(list(cluster.daemons)):
        cluster.stop(name)


def main() -> None:
    """Runs a command, or a shell, in a Slurm of its own."""
    if missing():
        sys.exit(f"not installed: {', '.join(missing())}; Debian: apt install slurm-wlm slurm-wlm-basic-plugins munge")
    command = sys.argv[1:] or [os.environ.get("SHELL", "bash")]
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, loopback(Path(folder)) as cluster:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the command
        code = subprocess.run(command, env=cluster.env, check=False, preexec_fn=_default_interrupt).returncode
    sys.exit(code)


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
