"""Log lines that stay one line each, as text or JSON, with the ids of the request, the task and the attempt."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

# Control characters, and those that turn the direction of what a terminal shows after them.
_UNSEEMLY = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# What every line about an attempt carries; see workers.execution.Execution.named.
_IDS = [
    re.compile(r"\btask=(?P<task_id>[0-9a-f-]{36})(?: attempt=(?P<attempt>\d+) name=(?P<task_name>\S+))?"),
    re.compile(r"\brun=(?P<run_id>[0-9a-f-]{36})"),
]
_request_id: ContextVar[str] = ContextVar("absurd_request_id", default="")


@contextlib.contextmanager
def of_request(request_id: str) -> Iterator[None]:
    """Give the log lines of the block the id of the request."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def request_id_of(record: logging.LogRecord) -> str:
    """Return the id of the request that a record is about, else an empty text.

    Django logs refusals and failures after the middleware, with the request itself.
    """
    return str(getattr(getattr(record, "request", None), "request_id", "") or _request_id.get())


class OneLine(logging.Formatter):
    """Writes what could forge a line or hide one as its escape; tracebacks keep their lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the record's own text, followed by the request's id unless it is in it."""
        record.message = _UNSEEMLY.sub(_escaped, record.message)
        request_id = request_id_of(record)
        if request_id and request_id not in record.message:
            record.message += f" request={request_id}"
        return super().formatMessage(record)


class JsonLine(logging.Formatter):
    """Writes a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object; a field without a value is left out."""
        message = record.getMessage()
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
            "request_id": request_id_of(record),
        }
        for pattern in _IDS:
            if found := pattern.search(message):
                fields |= {name: text for name, text in found.groupdict().items() if text}
        if "attempt" in fields:
            fields["attempt"] = int(fields["attempt"])
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: value for name, value in fields.items() if value != ""})


class RefusalsInOneLine(logging.Filter):
    """Takes the traceback from records of refused requests, where it only shows the code that refuses."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record."""
        if 400 <= getattr(record, "status_code", 0) < 500:
            record.exc_info = record.exc_text = None
        return True


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()
