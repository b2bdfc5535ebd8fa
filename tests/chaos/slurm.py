"""A Slurm of two nodes on this machine: its own munged, slurmctld and slurmds, in a directory of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from tests.deploy.tools import program
from tests.workers.live import wait_for

NODES = ("node1", "node2")
CONFIGURATION = """
ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket,cred_expire=20
CredType=cred/munge
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
SlurmdTimeout=10
SlurmctldTimeout=30
ReturnToService=2
KillWait=20
MinJobAge=3600
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port1} CPUs=2 RealMemory=16000
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port2} CPUs=2 RealMemory=16000
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
"""


class Cluster:
    """What a test may do to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        (directory / "state").mkdir()
        ports = _free_ports(3)
        text = CONFIGURATION.format(
            host=socket.gethostname().split(".")[0],
            directory=directory,
            ctld_port=ports[0],
            port1=ports[1],
            port2=ports[2],
        )
        self._configuration = directory / "slurm.conf"
        self._configuration.write_text(text)
        self.environment = {"SLURM_CONF": str(self._configuration)}

    def start(self) -> None:
        """Start the daemons, and wait until both nodes are idle."""
        key = self.directory / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        files = [f"--{name}-file={self.directory}/munge.{name}" for name in ("pid", "log", "seed")]
        self._start(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.directory}/munge.socket", *files
        )
        wait_for((self.directory / "munge.socket").exists)
        self._start("slurmctld", "-D", "-i", "-f", str(self._configuration))
        for node in NODES:
            self.start_node(node)
        wait_for(lambda: self.nodes() == dict.fromkeys(NODES, "idle"), 90)

    def start_node(self, name: str) -> None:
        """Start a node's slurmd."""
        self._start("slurmd", "-D", "-N", name, "-f", str(self._configuration), label=name)

    def stop(self) -> None:
        """Cancel all jobs and end the daemons with whatever their jobs still run."""
        for node in NODES:
            self.kill_node(node)
        for daemon in self._daemons.values():
            daemon.kill()
            daemon.wait()

    def cancel_jobs(self) -> None:
        """Kill all jobs, and wait until they have ended."""
        for options in (["--full", "--signal=KILL"], []):
            command = ["scancel", "--quiet", *options, "--user", "root"]
            subprocess.run(command, env=self._own_environment, check=False, timeout=60)
        wait_for(lambda: not self.run("squeue", "--noheader"))

    def kill_node(self, name: str) -> None:
        """Kill a node as a power cut would: slurmd and all processes of its jobs at once."""
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        doomed = [psutil.Process(daemon.pid)]
        doomed += doomed[0].children(recursive=True)
        doomed += [each for each in psutil.process_iter() if _node_of(each, self._configuration) == name]
        doomed = [each for process in {*doomed} for each in (process, *_children(process))]
        # All stand still before the first one ends: who sees another end would send SIGTERM, and a worker would drain.
        for act in (psutil.Process.suspend, psutil.Process.kill):
            for process in doomed:
                with suppress(psutil.Error):
                    act(process)
        daemon.wait()

    def nodes(self) -> dict[str, str]:
        """Return the state of each node."""
        lines = self.run("sinfo", "--noheader", "--Node", "--partition", "low", "--format", "%N %t").split()
        return dict(zip(lines[::2], lines[1::2], strict=True))

    def jobs(self) -> dict[str, str]:
        """Return the state of each job, those that have ended too."""
        lines = self.run("squeue", "--noheader", "--states", "all", "--format", "%i %T").split()
        return dict(zip(lines[::2], lines[1::2], strict=True))

    def job(self, job_id: str) -> dict[str, str]:
        """Return what Slurm knows of a job."""
        words = self.run("scontrol", "show", "job", job_id, "--oneliner").split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def run(self, *command: str) -> str:
        """Run one of Slurm's commands."""
        done = subprocess.run(
            command, env=self._own_environment, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def logs(self) -> str:
        """Return the last lines of the daemons' logs."""
        return json.dumps({path.name: path.read_text()[-3000:] for path in self.directory.glob("*.log")}, indent=1)

    @property
    def _own_environment(self) -> dict[str, str]:
        return os.environ | self.environment

    def _start(self, command: str, *arguments: str, label: str = "") -> None:
        path = program(command, "apt-get install slurm-wlm")
        with (self.directory / f"{label or command}.out").open("wb") as output:
            self._daemons[label or command] = subprocess.Popen(
                [path, *arguments],
                env=self._own_environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def has_slurm() -> bool:
    """Return whether the programs are there."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    return all(shutil.which(name, path=places) for name in ("slurmctld", "slurmd", "munged", "sbatch"))


def _node_of(process: psutil.Process, configuration: Path) -> str:
    """Return on which node of this cluster a process of a job runs."""
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return ""
    return environment.get("SLURMD_NODENAME", "") if environment.get("SLURM_CONF") == str(configuration) else ""


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
