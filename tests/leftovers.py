"""What tests have started and not ended: found by its environment, ended before the next test begins."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from django.db import connection

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
    deadline = time.monotonic() + GONE_SEC
    with connection.cursor() as cursor:
        while _end_sessions(cursor):
            assert time.monotonic() < deadline, f"sessions of {variable} do not end"
            time.sleep(0.02)


def _end_sessions(cursor: object) -> int:
    cursor.execute(  # type: ignore[attr-defined]
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = %s",
        [SESSION_NAME],
    )
    return len(cursor.fetchall())  # type: ignore[attr-defined]


def _processes() -> Iterator[int]:
    yield from (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _environment(pid: int) -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/environ").read_bytes()).split("\0")
    except OSError:
        return []
