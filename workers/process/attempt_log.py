"""The log file of each attempt."""

from __future__ import annotations

import os
from pathlib import Path

from tasks_app import cleaning
from tasks_app.engine.worker_calls import Claim
from tasks_app.files.private_directories import make_private

TAIL_LINES = 200
TAIL_BYTES = 64 * 1024


def path_of(var: Path, claim: Claim) -> Path:
    """Return where the attempt's log is kept: ``<var>/log/attempts/<task id>/<attempt>.log``."""
    return var / "log" / "attempts" / str(claim.task_id) / f"{claim.attempt}.log"


def open_for_append(path: Path) -> int:
    """Make the log and return a descriptor that always writes at its end, however many processes share it."""
    make_private(path.parent)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def tail(path: Path) -> str:
    """Return the last lines of a log, or nothing when it cannot be read."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    return cleaning.text("\n".join(text.splitlines()[-TAIL_LINES:]), TAIL_BYTES)


def named(claim: Claim) -> str:
    """Return what every log line about an attempt carries, to be searched for."""
    return f"task={claim.task_id} attempt={claim.attempt} name={claim.task_name}"
