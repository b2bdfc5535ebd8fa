"""What goes over the connection to the server, however it was sent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

from django.db import connection

QUERY = ("Query", "Execute")


def statements(work: Callable[[], object]) -> int:
    """Return how many statements the work sends, those of transactions included."""
    connection.ensure_connection()
    wire = connection.connection.pgconn
    with tempfile.NamedTemporaryFile("r") as told:
        descriptor = os.open(told.name, os.O_WRONLY)
        wire.trace(descriptor)
        try:
            work()
        finally:
            wire.untrace()
            os.close(descriptor)
        messages = [line.split("\t") for line in told.read().splitlines()]
    return sum(("F" in message[:2] and QUERY[0] in message[:5]) or QUERY[1] in message[:5] for message in messages)
