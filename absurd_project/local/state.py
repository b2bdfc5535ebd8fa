"""One stack a state directory, taking it down, and removing the directory. Standard library only: needs no `.venv`.

`stack.pid` is locked as long as the stack runs, so a stale file misleads no one.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import signal
import time
from pathlib import Path
from typing import TextIO

from absurd_project.local import liveness, servers
from absurd_project.local.liveness import NotPermitted
from absurd_project.local.locations import CHECKOUT

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

    Raises AlreadyRunning. `running` holds the lock for a moment, hence the wait.
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


def stop_running(var: Path, limit_sec: float) -> int | None:
    """Ask a running stack to stop and wait for it; return its pid, or None when none ran.

    Raises TimeoutError when it is still there at the end.
    """
    pid = running(var)
    if pid is None:
        return None
    liveness.send(pid, signal.SIGTERM, lambda found: running(var) == found)
    deadline = time.monotonic() + limit_sec
    while running(var) == pid:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the stack (process {pid}) has not stopped within {limit_sec:.0f} s")
        time.sleep(0.05)
    return pid


def _try_lock(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# Longer than a stack takes to stop by itself, its second SIGTERM and its kills included.
STACK_SEC = 30.0

SIGNS_OF_A_STATE_DIRECTORY = ("servers.lock", "postgres", "secret_key", "stack.pid")


class NotAStateDirectory(Exception):
    """Removal was asked for a directory that does not look like one of ours."""


def check_permitted(var: Path) -> None:
    """Raise NotPermitted for a state directory of another user, which only that user and root may work on."""
    try:
        owner = var.stat().st_uid
    except FileNotFoundError:
        return
    except OSError as error:
        raise NotPermitted(f"{var} cannot be read: {error.strerror}") from error
    if owner != os.geteuid() and not os.access(var, os.R_OK | os.W_OK | os.X_OK):
        raise NotPermitted(f"{var} belongs to {_name(owner)}: only that user or root may stop what runs there")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def take_down(var: Path) -> list[str]:
    """Stop the stack, then the private servers; return a line about each thing that was stopped.

    Raises TimeoutError or EmbeddedServerError when something does not stop, NotPermitted when it is another user's.
    """
    check_permitted(var)
    stopped = []
    pid = stop_running(var, STACK_SEC)
    if pid is not None:
        stopped.append(f"stopped the stack (process {pid})")
    before = servers.stop(var)
    if before.postgres_pid is not None:
        stopped.append(f"stopped PostgreSQL (process {before.postgres_pid})")
    if before.valkey_pid is not None:
        stopped.append(f"stopped Valkey (process {before.valkey_pid})")
    return stopped


def check_removable(var: Path) -> None:
    """Raise NotAStateDirectory unless the directory is plainly a state directory of ours."""
    kept = {Path("/"), Path.home(), CHECKOUT, *CHECKOUT.parents}
    if var.resolve() in kept or not any((var / name).exists() for name in SIGNS_OF_A_STATE_DIRECTORY):
        raise NotAStateDirectory(f"{var} does not look like a state directory of Absurd; nothing was removed")


def purge(var: Path) -> None:
    """Take everything down and remove the state directory, with what had to live outside it."""
    check_permitted(var)
    check_removable(var)
    take_down(var)
    servers.purge(var)
