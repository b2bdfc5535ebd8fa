"""What CASA called severe in an attempt's log: many of its tasks log that and return as if nothing had happened."""

from __future__ import annotations

import re
from pathlib import Path

BENIGN_SEVERE = ("Leap second table TAI_UTC seems out-of-date",)
"""Patterns of messages that are severe to CASA but not to a task. The warning is useful where the measures are made."""
LINES_MOST = 10
LINE_CHARS_MOST = 500
_SEVERE = re.compile(rb"^(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)?\s*\tSEVERE\t(?P<origin>[^\t]*)\t?(?P<message>.*)$")
"""CASA's own format: time, level, origin and message between tabs. What merely mentions the word is no match."""


class CasaSevere(RuntimeError):
    """The handler returned, but CASA had logged SEVERE."""


def refuse_severe(log: Path, offset: int) -> None:
    """Raise CasaSevere, quoting them, when the log holds severe lines after `offset` that match no benign pattern."""
    found = severe_lines(log, offset)
    if not found:
        return
    quoted = [line if len(line) <= LINE_CHARS_MOST else line[:LINE_CHARS_MOST] + " …" for line in found[:LINES_MOST]]
    if len(found) > LINES_MOST:
        quoted.append(f"… and {len(found) - LINES_MOST} more in the log")
    raise CasaSevere("CASA logged SEVERE although the handler returned: " + "\n".join(quoted))


def severe_lines(log: Path, offset: int = 0) -> list[str]:
    """Return origin and message of each severe line after `offset` bytes that matches no benign pattern, each once.

    They are on stderr too, so that a log may hold each twice. A log that cannot be read has none.
    """
    found: dict[str, None] = {}
    try:
        with log.open("rb") as stream:
            stream.seek(offset)
            for line in stream:
                if match := _SEVERE.match(line.rstrip(b"\r\n")):
                    parts = (match["origin"].strip(), match["message"].strip())
                    found[": ".join(part.decode(errors="replace") for part in parts if part)] = None
    except OSError:
        return []
    return [line for line in found if not any(re.search(pattern, line) for pattern in BENIGN_SEVERE)]
