"""What tests have started and not ended: found by its environment, ended before the next test begins."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from django.db import connection
from django.db.backends.utils import CursorWrapper

from absurd_project.local import liveness

SESSION_NAME = "started by a test"
GONE_SEC = 120.0


def end(variable: str) -> None:
    """Kill every process that has this `NAME=value` in its environment, and wait until its sessions are gone."""

    def is_left(pid: int) -> bool:
        return liveness.alive(pid) and variable in _environment(pid)

    for pid in _processes():
        if is_left(pid) and liveness.send(pid, signal.SIGKILL, is_left):
            liveness.wait_until_gone(pid, GONE_SEC)
    end_sessions(f"application_name = '{SESSION_NAME}'")


def end_sessions(which: str = "true") -> None:
    """End the other sessions of this database that match a condition, and wait until they are gone."""
    deadline = time.monotonic() + GONE_SEC
    with connection.cursor() as cursor:
        while left := _ask_to_end(cursor, which):
            assert time.monotonic() < deadline, f"sessions do not end: {left}"
            time.sleep(0.02)


def _ask_to_end(cursor: CursorWrapper, which: str) -> list[tuple[int, str, str]]:
    cursor.execute(
        "SELECT pid, application_name, query FROM pg_stat_activity WHERE datname = current_database()"
        f" AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND {which}"
    )
    left = cursor.fetchall()
    cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::integer[]) AS pid", [[row[0] for row in left]])
    return left


def _processes() -> Iterator[int]:
    yield from (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _environment(pid: int) -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/environ").read_bytes()).split("\0")
    except OSError:
        return []
