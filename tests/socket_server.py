"""Servers of the standard library in a thread of the tests."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from typing import TypeVar

S = TypeVar("S", bound=socketserver.BaseServer)


def running(server: S) -> Iterator[S]:
    """Yield the server while a thread serves its requests."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
