"""Processes of a drill or a benchmark: workers and a web process, which end with the program that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import psutil
from django.conf import settings
from django.db.models.functions import Now

from tasks_app.models import Worker
from tasks_app.postgresql import clock
from workers.gameday.polling import wait_for
from workers.process.environment import CHECKOUT

START_SEC = 60.0
STOP_SEC = 10.0
SWEEPS = "sweeps have started"
"""What web processes and workers log once they sweep the leases of all tasks claimed from now on."""
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


class DoesNotStart(Exception):
    """A process ended or was not ready in time; the message has the last line of its log."""


class WorkerProcess:
    """One worker process of ours."""

    def __init__(self, label: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.label = label
        self.log = log
        self.popen = process

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self.popen.poll() is None

    @property
    def row(self) -> Worker:
        """Its row in the database."""
        return Worker.objects.get(label=self.label)

    def kill(self) -> datetime:
        """Kill it with SIGKILL and return when, by the database's clock."""
        moment = clock.now()
        self.popen.kill()
        self.popen.wait()
        return moment


class Processes:
    """Starts processes that share an environment and a directory of logs, and ends whatever is left of them."""

    def __init__(
        self, environment: Mapping[str, str], directory: Path, queue_name: str = "", *, ready_line: str = SWEEPS
    ) -> None:
        self._ready_line = ready_line
        """What the log of a ready process has; empty where the logging level leaves it out."""
        self._environment = dict(environment)
        self._directory = directory
        self._queue_name = queue_name
        self._running: list[subprocess.Popen[bytes]] = []
        self.workers: list[WorkerProcess] = []

    @property
    def label_prefix(self) -> str:
        """What the labels of all these workers start with."""
        return f"{self._directory.name}-"

    def start(self, *options: str, environment: Mapping[str, str] | None = None) -> WorkerProcess:
        """Start a worker without waiting for it."""
        label = f"{self.label_prefix}{len(self.workers) + 1}"
        argv = [*settings.ABSURD_MANAGE_COMMAND, "runworker", "--queue-name", self._queue_name]
        argv += ["--worker-id", label, *options]
        log = self._directory / f"{label}.log"
        worker = WorkerProcess(label, self.launch([sys.executable, *argv], log, environment), log)
        self.workers.append(worker)
        return worker

    def start_ready(self, *options: str, environment: Mapping[str, str] | None = None) -> WorkerProcess:
        """Start a worker and wait until it is ready. Raises DoesNotStart."""
        (worker,) = self.start_all_ready(1, *options, environment=environment)
        return worker

    def start_all_ready(
        self, count: int, *options: str, environment: Mapping[str, str] | None = None
    ) -> list[WorkerProcess]:
        """Start workers and wait until all are registered and sweep. Raises DoesNotStart."""
        started = [self.start(*options, environment=environment) for _ in range(count)]
        for worker in started:
            registered = Worker.objects.filter(label=worker.label)
            self._wait_ready(worker.popen, worker.log, registered.exists)
        return started

    def start_web(self) -> int:
        """Start a web process, which sweeps too; return its port of 127.0.0.1. Raises DoesNotStart."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])

        def listens() -> bool:
            with socket.socket() as line:
                return line.connect_ex(("127.0.0.1", port)) == 0

        log, application = self._directory / "web.log", settings.ASGI_APPLICATION.replace("asgi.", "asgi:")
        daphne = [sys.executable, "-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(port), application]
        self._wait_ready(self.launch(daphne, log), log, listens)
        return port

    def _wait_ready(self, process: subprocess.Popen[bytes], log: Path, is_up: Callable[[], bool]) -> None:
        def ready() -> bool:
            if process.poll() is not None:
                raise DoesNotStart(f"a process ended with code {process.returncode}: {last_line(log)}")
            return self._ready_line in log.read_text() and is_up()

        wait_for(log.stem, ready, START_SEC)

    def launch(
        self, argv: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program that writes to a log, ends with this process, and is ended by `end`."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                argv,
                cwd=CHECKOUT,
                env={**self._environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self._running.append(process)
        return process

    def end(self) -> None:
        """Kill whatever still runs, and wait for the guardians to have ended everything that it started."""
        trees: list[psutil.Process] = []
        for process in self._running:
            if process.poll() is None:
                with contextlib.suppress(psutil.Error):
                    trees += psutil.Process(process.pid).children(recursive=True)
                process.kill()
                process.wait()
        _, left = psutil.wait_procs(trees, timeout=STOP_SEC)
        for orphan in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()

    def mark_stopped(self) -> None:
        """Mark the rows of our dead workers as stopped, so that operators are not warned of them."""
        rows = Worker.objects.filter(label__startswith=self.label_prefix, stopped_at=None)
        rows.filter(pid__in=[worker.popen.pid for worker in self.workers]).update(stopped_at=Now())


def last_line(log: Path) -> str:
    """Return the last line of a log."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "its log is empty"


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel signal this process when its parent dies; guardians then end what a worker started."""
    _libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def own_environment(var: Path, **more: str) -> dict[str, str]:
    """Return the environment of processes whose state is below `var`: none of the caller's ABSURD_ settings."""
    ours = ("ABSURD_", "PYTEST_", "DJANGO_", "SECRET_KEY")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | {
        "PYTHONUNBUFFERED": "1",
        "ABSURD_MODE": "local",
        "ABSURD_ENABLED": "true",
        "ABSURD_VAR": str(var),
        "ABSURD_DATA_ROOTS": str(var / "data"),
        **more,
    }
