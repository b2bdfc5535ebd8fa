"""Log lines that stay one line each, whatever a caller has put into a path, a name or a reason."""

from __future__ import annotations

import logging
import re

# Control characters, and those that turn the direction of what a terminal shows after them.
_UNSEEMLY = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class OneLine(logging.Formatter):
    """Writes what could forge a line or hide one as its escape; tracebacks keep their lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the record's own text."""
        record.message = _UNSEEMLY.sub(_escaped, record.message)
        return super().formatMessage(record)


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()
