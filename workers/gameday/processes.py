"""The game's own processes: workers, and a web process that sweeps. No other process is ever touched."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
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
SWEEPS = "sweeps have started"
"""What web processes and workers log once they watch over the leases of all tasks claimed from now on."""
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


class Hand:
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

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def kill(self) -> datetime:
        """Kill it with SIGKILL and return when, by the database's clock."""
        moment = clock.now()
        self.popen.kill()
        self.popen.wait()
        return moment

    def wait(self, timeout_sec: float) -> int:
        """Wait until it ends; return its exit code."""
        return self.popen.wait(timeout_sec)


class Crew:
    """Starts processes of the game and ends whatever is left of them."""

    def __init__(self, environment: Mapping[str, str], directory: Path, queue_name: str) -> None:
        self.environment = dict(environment)
        self._directory = directory
        self._queue_name = queue_name
        self._web: subprocess.Popen[bytes] | None = None
        self.hands: list[Hand] = []

    @property
    def label_prefix(self) -> str:
        """What the labels of all workers of this crew begin with."""
        return f"{self._directory.name}-"

    def start(self, *options: str, environment: Mapping[str, str] | None = None) -> Hand:
        """Start a worker without waiting for it."""
        label = f"{self.label_prefix}{len(self.hands) + 1}"
        argv = ["manage.py", "runworker", "--queue-name", self._queue_name, "--worker-id", label, *options]
        log = self._directory / f"{label}.log"
        hand = Hand(label, self._launch(argv, log, environment or {}), log)
        self.hands.append(hand)
        return hand

    def start_ready(self, *options: str, environment: Mapping[str, str] | None = None) -> Hand:
        """Start a worker and wait until it is ready."""
        hand = self.start(*options, environment=environment)
        self.wait_ready(hand)
        return hand

    def wait_ready(self, hand: Hand) -> None:
        """Wait until the worker is registered and sweeps. Raises NothingCame with its last words."""

        def look() -> bool:
            if not hand.alive:
                raise RuntimeError(f"worker {hand.label} ended: {hand.log.read_text()[-500:]}")
            return SWEEPS in hand.log.read_text() and Worker.objects.filter(label=hand.label).exists()

        wait_for(f"worker {hand.label}", look, START_SEC)

    def start_web(self) -> None:
        """Start a web process, whose sweeper returns the tasks of dead workers; it listens on a socket of its own."""
        path = self._directory / "web.sock"
        argv = ["-m", "daphne", "-v", "0", "-u", str(path), settings.ASGI_APPLICATION.replace("asgi.", "asgi:")]
        log = self._directory / "web.log"
        self._web = web = self._launch(argv, log, {})

        def look() -> bool:
            if web.poll() is not None:
                raise RuntimeError(f"the web process ended: {log.read_text()[-500:]}")
            return path.exists() and SWEEPS in log.read_text()

        wait_for("the web process", look, START_SEC)

    def _launch(self, argv: list[str], log: Path, more: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, *argv],
                cwd=CHECKOUT,
                env={**self.environment, **more},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_the_game,
            )

    def logs(self) -> str:
        """Return what all of them have written."""
        return "".join(path.read_text(errors="replace") for path in sorted(self._directory.glob("*.log")))

    def end(self) -> None:
        """Kill whatever still runs, and wait for the guardians to have ended everything."""
        processes = [hand.popen for hand in self.hands] + ([self._web] if self._web else [])
        trees: list[psutil.Process] = []
        for process in processes:
            if process.poll() is None:
                with contextlib.suppress(psutil.Error):
                    trees += psutil.Process(process.pid).children(recursive=True)
                process.kill()
                process.wait()
        psutil.wait_procs(trees, timeout=10)

    def sign_off(self) -> None:
        """Mark the rows of our dead workers as stopped, so that no operator wonders where they are."""
        rows = Worker.objects.filter(label__startswith=self.label_prefix, stopped_at=None)
        rows.filter(pid__in=[hand.popen.pid for hand in self.hands]).update(stopped_at=Now())


def die_with_the_game(number: int = signal.SIGKILL) -> None:
    """Let nothing outlive a game that is killed; the guardians then end what the workers had started."""
    _libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def own_environment(directory: Path, urls: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the game's processes: nothing of the caller's ABSURD_ settings, all state in a
    directory of its own."""
    for name in ("var", "data"):
        (directory / name).mkdir(exist_ok=True)
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("ABSURD_", "PYTEST_", "DJANGO_"))
    }
    return inherited | {
        "PGAPPNAME": directory.name,
        "PYTHONUNBUFFERED": "1",
        "ABSURD_MODE": "local",
        "ABSURD_ENABLED": "true",
        "ABSURD_DIAGNOSTICS": "true",
        "ABSURD_VAR": str(directory / "var"),
        "ABSURD_DATA_ROOTS": str(directory / "data"),
        **urls,
        **more,
    }
