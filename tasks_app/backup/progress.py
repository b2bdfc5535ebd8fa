"""How far a backup or a restore is, by the tables it has come to."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[float, str], None]
"""Called with the fraction that is done, from 0 to 1, and what is being done."""


def share(on_progress: OnProgress, start: float, end: float) -> OnProgress:
    """Return a function for one part of the work, whose own 0 to 1 is `start` to `end` of the whole."""
    return lambda fraction, what: on_progress(start + (end - start) * fraction, what)


class Tables:
    """Counts the tables that a program has come to."""

    def __init__(self, total: int, what: str, on_progress: OnProgress) -> None:
        self._total, self._what, self._on_progress = total, what, on_progress
        self._seen = 0

    def __call__(self) -> None:
        self._on_progress(min(1.0, self._seen / max(1, self._total)), f"{self._what} table {self._seen + 1}")
        self._seen += 1
