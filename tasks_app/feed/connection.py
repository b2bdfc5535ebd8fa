"""The web server's side of a connection of the feed.

ASGI has no back-pressure: daphne buffers without bound what a client does not read. Its `send` carries the protocol,
and that the transport, whose buffer can be measured. With another server nothing is waited for.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

HELD_MOST_BYTES = 256 * 1024
PAUSE_SEC = 0.01
PAUSE_MOST_SEC = 0.25
STALLED_SEC = 30.0
SCOPE_KEY = "absurd.connection"


class Stalled(Exception):
    """The client has read nothing for a long time although messages wait."""


class Connection:
    """One connection of the web server."""

    def __init__(self, send: Any) -> None:
        self._protocol = next(iter(getattr(send, "args", ())), None)

    def held_bytes(self) -> int:
        """Return how much was sent that the client's machine has not taken yet."""
        transport = self._transport()
        if transport is None:
            return 0
        held: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
        return held

    async def ready(self) -> None:
        """Wait until the client has taken most of what was sent. Raises Stalled when it takes nothing any more."""
        held, since, pause_sec = self.held_bytes(), time.monotonic(), 0.0
        while held > HELD_MOST_BYTES:
            await asyncio.sleep(pause_sec)
            pause_sec = min(pause_sec + PAUSE_SEC, PAUSE_MOST_SEC)
            still_held = self.held_bytes()
            if still_held < held:
                held, since = still_held, time.monotonic()
            elif time.monotonic() - since > STALLED_SEC:
                raise Stalled

    def abort(self) -> None:
        """Close the connection without sending what is buffered."""
        transport = self._transport()
        if transport is not None:
            transport.abortConnection()

    def forget_query(self) -> None:
        """Keep the query, which may have a ticket in it, out of the server's access log."""
        uri = getattr(self._protocol, "uri", None)
        if isinstance(uri, bytes):
            self._protocol.uri = uri.partition(b"?")[0]  # type: ignore[union-attr]

    def _transport(self) -> Any:
        """Return the transport that has the buffer, which may be below one that encrypts."""
        transport = getattr(self._protocol, "transport", None)
        while transport is not None and not hasattr(transport, "_tempDataLen"):
            transport = getattr(transport, "transport", None)
        return transport


class WithConnection:
    """Adds a Connection to the scope of the application inside."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._application({**scope, SCOPE_KEY: Connection(send)}, receive, send)
