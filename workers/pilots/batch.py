"""The batch system, through PSI/J: submit a job, cancel one, and list those that have not ended.

PSI/J's own view of a job's state is not used: it takes all jobs for failed when their system does not answer once, or
gives a reason that PSI/J does not know, and its lists have jobs that have ended. Whether a pilot works is seen in the
database.
"""

from __future__ import annotations

import getpass
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from tasks_app.version import CHECKOUT, IS_CHECKOUT
from workers.models import Pilot
from workers.pilots.options import Options

LAUNCHERS = {"slurm": "srun"}
"""Slurm signals steps, not scripts, when it preempts a job with a grace time: the worker must be a step of its own."""
UNFINISHED = {
    "slurm": ["squeue", "--me", "--noheader", "--format=%A"],
    "pbs": ["qselect", "-u", getpass.getuser()],
    "pbs_classic": ["qselect", "-u", getpass.getuser()],
    "lsf": ["bjobs", "-noheader", "-o", "jobid"],
}
"""The commands that list the ids of the account's jobs that wait or run."""
NONE_LEFT = "No unfinished job found"
"""What LSF says, with an exit code that is not 0."""
ANSWER_SEC = 60
NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "INVOCATION_ID")
"""What systemd gives to the controller alone."""
LAST_LINES = 3
LOG_READ_BYTES = 4096


class BatchError(Exception):
    """The batch system cannot be reached, or refuses something; in one line."""


class Batch:
    """The jobs of one account in one batch system. Raises BatchError where PSI/J or that system is missing."""

    def __init__(self, options: Options) -> None:
        # It names plugins that are not installed, and its thread warns when it cannot poll the jobs of this process.
        logging.getLogger("psij").setLevel(logging.CRITICAL)
        try:
            import psij
            from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutorConfig
        except ImportError as error:
            raise BatchError(f"PSI/J is not installed ({error}): pip install 'absurd-dsa110[pilots]'") from error
        self._psij, self._options = psij, options
        options.directory.mkdir(parents=True, exist_ok=True)
        kind = psij.JobExecutorConfig if options.executor == "local" else BatchSchedulerExecutorConfig
        with _one_line(f"{options.executor} is not usable"):
            self._executor = psij.JobExecutor.get_instance(
                options.executor, config=kind(work_directory=options.directory)
            )

    def listed(self) -> set[str]:
        """Return the ids of the account's jobs that have not ended."""
        with _one_line(f"{self._options.executor} cannot be reached"):
            if self._options.executor == "local":
                return running_pids()
            command = UNFINISHED.get(self._options.executor)
            if command is None:
                return set(map(str, self._executor.list()))
            done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SEC)
            if done.returncode and NONE_LEFT not in done.stderr:
                raise OSError(done.stderr or f"{command[0]} ended with code {done.returncode}")
            return set(done.stdout.split())

    def submit(self, pilot: Pilot) -> str:
        """Submit a pilot; return its job's id."""
        job = self._psij.Job(self._spec(pilot))
        with _one_line(f"{self._options.executor} refused the job"):
            self._executor.submit(job)
        return str(job.native_id)

    def cancel(self, native_id: str) -> None:
        """Cancel a job that may have ended."""
        job = self._psij.Job()
        with _one_line(f"{self._options.executor} did not cancel job {native_id}"):
            self._executor.attach(job, native_id)
            self._executor.cancel(job)

    def last_words(self, pilot: Pilot) -> str:
        """Return the end of the pilot's log, or of its script's."""
        own = self.log_of(pilot), self._options.directory / self._options.executor / f"{pilot.native_id}.out"
        for path in own:
            lines = _tail(path)
            if lines:
                return f"{path}: {' / '.join(lines[-LAST_LINES:])}"
        return f"its job ended without a line in {own[0]}"

    def log_of(self, pilot: Pilot) -> Path:
        """Return where the pilot's worker logs."""
        return self._options.directory / f"{pilot.name}.log"

    def _spec(self, pilot: Pilot) -> Any:
        options, log = self._options, str(self.log_of(pilot))
        cores = options.cores or options.concurrency
        return self._psij.JobSpec(
            name=pilot.name,
            executable=sys.executable,
            arguments=["-m", "absurd_project", "runworker", *_worker_arguments(pilot, options)],
            directory=str(CHECKOUT if IS_CHECKOUT else options.directory),
            inherit_environment=True,
            # srun takes the cores of a step from this variable, and not from those of the job.
            environment={**dict.fromkeys(filter(os.environ.get, NOT_INHERITED), ""), "SRUN_CPUS_PER_TASK": str(cores)},
            stdout_path=log,
            stderr_path=log,
            resources=self._psij.ResourceSpecV1(
                node_count=1,
                process_count=1,
                cpu_cores_per_process=cores,
                exclusive_node_use=False,
                memory=None if options.memory_gb is None else int(options.memory_gb * 1e9),
            ),
            attributes=self._psij.JobAttributes(
                duration=timedelta(seconds=options.time_limit_sec),
                queue_name=options.partition,
                account=options.account,
                custom_attributes=dict(options.attributes),
            ),
            launcher=LAUNCHERS.get(options.executor, "single"),
        )


def _worker_arguments(pilot: Pilot, options: Options) -> list[str]:
    """Return the command line of the pilot's worker; memory and cores it finds in its allocation."""
    own = ["--worker-id", pilot.name, "--concurrency", str(options.concurrency)]
    own += [part for name in options.queue_names for part in ("--queue-name", name)]
    own += ["--time-limit", f"{options.time_limit_sec:g}", "--drain-timeout", f"{options.drain_timeout_sec:g}"]
    return own if pilot.standing else [*own, "--burst", "--max-idle", f"{options.max_idle_sec:g}"]


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Raise what PSI/J and its commands raise as a BatchError of one line."""
    try:
        yield
    except Exception as error:  # its executors raise all kinds, assertion errors too
        raise BatchError(f"{what}: {' '.join(str(error).split())[:300] or type(error).__name__}") from error


def running_pids() -> set[str]:
    """Return the ids of all processes that have not ended; nobody may wait for those of an earlier controller."""
    found = psutil.process_iter(["status"])
    return {str(process.pid) for process in found if process.info["status"] != psutil.STATUS_ZOMBIE}


def _tail(path: Path) -> list[str]:
    """Return the last lines of a file that are not empty; none where it cannot be read."""
    try:
        text = path.read_bytes()[-LOG_READ_BYTES:].decode(errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]
