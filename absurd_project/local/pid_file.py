"""One stack a state directory: `stack.pid` is locked as long as the stack runs, so a stale file misleads nobody."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path
from typing import TextIO

from absurd_project.local import liveness

PROBE_SEC = 1.0


class AlreadyRunning(Exception):
    """Another stack runs on this state directory."""

    def __init__(self, var: Path, pid: int | None) -> None:
        super().__init__(f"a stack already runs on {var} (process {pid}); make down stops it")
        self.pid = pid


def path(var: Path) -> Path:
    """Return the file that a running stack holds."""
    return var / "stack.pid"


def hold(var: Path) -> TextIO:
    """Claim the state directory for a stack of this process; close the returned file to let it go.

    Raises AlreadyRunning. Somebody who only asks holds the lock for a moment, hence the patience.
    """
    var.mkdir(parents=True, exist_ok=True)
    file = path(var).open("a+")
    deadline = time.monotonic() + PROBE_SEC
    while not _try_lock(file, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            file.close()
            raise AlreadyRunning(var, running(var))
        time.sleep(0.05)
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def running(var: Path) -> int | None:
    """Return the pid of the supervisor that runs on a state directory, or None."""
    try:
        file = path(var).open()
    except OSError:
        return None
    with file:
        return None if _try_lock(file, fcntl.LOCK_SH) else liveness.read_pid(path(var))


def stop_running(var: Path, timeout_sec: float) -> int | None:
    """Ask a running stack to stop and wait for it; return its pid, or None when none ran.

    Raises TimeoutError when it is still there at the end.
    """
    pid = running(var)
    if pid is None:
        return None
    liveness.send(pid, signal.SIGTERM, lambda found: running(var) == found)
    deadline = time.monotonic() + timeout_sec
    while running(var) == pid:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the stack (process {pid}) has not stopped within {timeout_sec:.0f} s")
        time.sleep(0.05)
    return pid


def _try_lock(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
