"""What goes over the connection to the server, however it is sent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

from django.db import connection


def statements(work: Callable[[], object]) -> int:
    """Return how many statements the work sends, those of transactions included."""
    connection.ensure_connection()
    wire = connection.connection.pgconn
    with tempfile.NamedTemporaryFile("r") as output:
        descriptor = os.open(output.name, os.O_WRONLY)
        wire.trace(descriptor)
        wire.set_trace_flags(1)  # no times
        try:
            work()
        finally:
            wire.untrace()
            os.close(descriptor)
        kinds = [line.split("\t")[2] for line in output.read().splitlines() if line.startswith("F\t")]
    return kinds.count("Query") + kinds.count("Execute")
