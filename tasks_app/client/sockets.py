"""The feed over a socket, that connects again by itself and goes on where it was."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tasks_app.client.faults import NotAuthenticated, NotPermitted, RequestRefused, ServerFault
from tasks_app.client.persistence import pause_sec
from tasks_app.client.transport import Document

REFUSALS = {
    4400: RequestRefused("the server does not know one of the feed's filters"),
    4401: NotAuthenticated("the feed wants a key with the scope 'read'"),
    4403: NotPermitted("the key lacks the scope 'read'"),
    4404: ServerFault("the server has no feed at /ws/status"),
}
PING_SEC = 15.0
"""The server answers with the number up to which all was said, so that a narrow choice moves on as well."""


class SocketFeed:
    """One feed, over as many connections as it takes."""

    def __init__(
        self, address: str, headers: Mapping[str, str], query: Sequence[tuple[str, str]], timeout_sec: float
    ) -> None:
        self._address = address
        self._headers = headers
        self._query = query
        self._timeout_sec = timeout_sec
        self._position: int | None = None

    async def messages(self, since: int | None) -> AsyncGenerator[Document, None]:
        """Yield every message after `since`, or from now on, each once and in order.

        Raises what the server refuses for good; everything else is tried again for ever.
        """
        self._position = since
        failures = 0
        while True:
            with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, ConnectionClosed):
                async with self._connection() as socket:
                    floor = self._position
                    while True:
                        message: Document = json.loads(await socket.recv())
                        if self._is_news(message, floor):
                            failures = 0
                            yield message
            await asyncio.sleep(pause_sec(failures))
            failures = min(failures + 1, 10)

    def _is_news(self, message: Document, floor: int | None) -> bool:
        """Note where the feed has got to, and say whether the message is not one that was heard before `floor`."""
        kind, number = message.get("type"), message.get("event_id")
        if not isinstance(number, int):
            return True
        if kind == "hello":
            self._position = number if self._position is None else self._position
            return True
        if kind == "pong":
            self._position = max(self._position or 0, number)
            return False
        if kind != "resync" and floor is not None and number <= floor:
            return False
        self._position = number
        return True

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[ClientConnection]:
        since = [] if self._position is None else [("since", str(self._position))]
        address = f"{self._address}?{urlencode([*self._query, *since])}"
        try:
            opened = await connect(
                address, additional_headers=self._headers, open_timeout=self._timeout_sec, max_size=None
            )
        except InvalidStatus as error:
            status = error.response.status_code
            if 400 <= status < 500 and status != 429:
                raise ServerFault(f"{self._address} answers with status {status}") from error
            raise
        pinger = asyncio.create_task(_ping(opened))
        try:
            yield opened
        except ConnectionClosed as closed:
            refusal = REFUSALS.get(closed.rcvd.code) if closed.rcvd else None
            raise refusal or closed from None
        finally:
            pinger.cancel()
            await opened.close()


async def _ping(socket: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await asyncio.sleep(PING_SEC)
            await socket.send('{"type": "ping"}')
