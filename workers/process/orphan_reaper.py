"""The last net: processes of an attempt whose guardian was itself killed, found by the mark in their environment."""

from __future__ import annotations

import contextlib

import psutil

MARK = "ABSURD_ATTEMPT"


def kill(mark: str) -> int:
    """Kill every process of this user that carries the mark; return how many."""
    killed = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                process.kill()
                killed += 1
    return killed
