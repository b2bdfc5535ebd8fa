"""The one error of this package, and the lines a server left before it gave up."""

from __future__ import annotations

from pathlib import Path


class EmbeddedServerError(RuntimeError):
    """A private server cannot be started, reached or stopped; the message says what to do."""


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log, or an empty string when there is none."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
