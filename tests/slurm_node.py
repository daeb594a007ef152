"""A SLURM of one machine, this one, that lives in a folder: a controller and a node, no accounting, no munge.

Debian: apt-get install --no-install-recommends slurm-wlm slurm-wlm-basic-plugins. Its daemons need not run.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")

SETTINGS = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
PluginDir={plugins}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
DefMemPerCPU=500
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 OverTimeLimit=0
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF
PartitionName=closed Nodes=ALL PriorityTier=1
"""


def why_not() -> str | None:
    """Why there can be none here."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"no SLURM is installed ({', '.join(missing)}): Debian's slurm-wlm and its basic plugins"
    return None if os.getuid() == 0 else "slurmd needs root"


@contextmanager
def slurm_node(folder: Path) -> Iterator[None]:
    """Start it, with SLURM_CONF naming it, and end it with all its jobs."""
    controller, node = (Path(shutil.which(name) or "").resolve() for name in ("slurmctld", "slurmd"))
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    plugins = next(controller.parents[1].glob("lib*/**/auth_none.so")).parent
    text = SETTINGS.format(host=socket.gethostname(), folder=folder, plugins=plugins, ports=_free_ports())
    (folder / "slurm.conf").write_text(text)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    step_daemon = node.with_name(node.name.replace("slurmd", "slurmstepd"))
    daemons = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in ([str(controller), "-D"], [str(node), "-D", "-d", str(step_daemon)])
    ]
    try:
        until(lambda: "idle" in asked("sinfo", "--noheader", "--partition=low", "--format=%t"))
        yield
    finally:
        subprocess.run(["scancel", "--user=root"], check=False)
        time.sleep(2)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(60)
        del os.environ["SLURM_CONF"]


def asked(*command: str) -> str:
    """What a program of SLURM prints; nothing if it failed."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()


def until(moment: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait for a moment."""
    limit = time.monotonic() + seconds
    while not moment():
        assert time.monotonic() < limit, asked("squeue", "--states=all")
        time.sleep(0.2)


def begin_now(job: str) -> None:
    """Let a job that was queued again begin in three seconds, not in SLURM's two minutes; right after its
    end, the machine refuses it.
    """
    until(lambda: asked("squeue", "--noheader", f"--jobs={job}", "--format=%T") == "PENDING")
    command = ["scontrol", "update", f"JobId={job}", "StartTime=now+3seconds"]
    subprocess.run(command, check=False, capture_output=True)


def _free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], two.getsockname()[1]]
