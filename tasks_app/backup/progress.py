"""How far a backup or a restore is, by the tables it has come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

OnProgress = Callable[[float, str], None]
"""Called with the fraction that is done, from 0 to 1, and what is being done."""


def share(on_progress: OnProgress, start: float, end: float) -> OnProgress:
    """Return a function for one part of the work, whose own 0 to 1 is `start` to `end` of the whole."""
    return lambda fraction, what: on_progress(start + (end - start) * fraction, what)


class Tables:
    """Follows a program from table to table, each weighted by its rows."""

    def __init__(self, rows: Mapping[str, int], what: str, on_progress: OnProgress) -> None:
        self._left = {name: count + 1 for name, count in rows.items()}
        self._total = max(1, sum(self._left.values()))
        self._current = ""
        self._what, self._on_progress = what, on_progress

    def __call__(self, name: str) -> None:
        """Note that the program has come to a table, given by schema and name, and so is done with the one before."""
        self._left.pop(self._current, None)
        self._current = name
        self._on_progress(1 - sum(self._left.values()) / self._total, f"{self._what} {name}")
