"""Ends of supervised processes (web, workers, ingest), noted in the state directory for health to read.

No Django here: the supervisor runs without it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "supervised.json"
KEPT = 100
"""The newest ends are kept."""


@dataclass(frozen=True, kw_only=True)
class End:
    """One process that ended without having been stopped."""

    name: str
    at: float
    """Seconds since 1970."""
    how: str
    """Exit code or signal."""


def forget(var: Path) -> None:
    """Begin again, with a new supervisor."""
    (var / NAME).unlink(missing_ok=True)


def note_end(var: Path, name: str, how: str) -> None:
    """Note that a process ended; a reader never sees half of it. Raises OSError."""
    ends = [*ends_since(var, 0.0), End(name=name, at=time.time(), how=how)][-KEPT:]
    partial = var / f".{NAME}.{os.getpid()}"
    partial.write_text(json.dumps([asdict(end) for end in ends]))
    partial.replace(var / NAME)


def ends_since(var: Path, since: float) -> Iterator[End]:
    """Yield the ends after a moment (seconds since 1970), oldest first; none where nothing was noted."""
    try:
        noted = [End(**entry) for entry in json.loads((var / NAME).read_text())]
    except (OSError, ValueError, TypeError):
        return
    yield from (end for end in noted if end.at > since)
