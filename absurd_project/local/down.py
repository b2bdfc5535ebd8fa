"""Taking everything down, and removing the state directory. Standard library only: works without a `.venv`."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from absurd_project.local import servers
from absurd_project.local.liveness import NotPermitted
from absurd_project.local.locations import CHECKOUT
from absurd_project.local.pid_file import stop_running

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
    said = []
    pid = stop_running(var, STACK_SEC)
    if pid is not None:
        said.append(f"stopped the stack (process {pid})")
    before = servers.stop(var)
    if before.postgres_pid is not None:
        said.append(f"stopped PostgreSQL (process {before.postgres_pid})")
    if before.valkey_pid is not None:
        said.append(f"stopped Valkey (process {before.valkey_pid})")
    return said


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
