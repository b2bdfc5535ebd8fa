"""A client of the feed on the web host, in a thread, which keeps the numbers of all events."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import Future
from typing import Any

import websockets

from tests.hosts.site import NAME, Site

OPEN_SEC = 60.0


class FeedClient:
    """Connected from its start until its end but for the times when it is asked to be away."""

    def __init__(self, site: Site) -> None:
        self._headers = {name: value for name, value in site.headers.items() if name != "Host"}
        self.ids: list[int] = []
        self.types: dict[int, str] = {}
        self.resyncs = 0
        self.connections = 0
        self._seen: int | None = None
        self._away, self._ended = threading.Event(), threading.Event()
        self._future: Future[None] = site.web.visit(lambda: asyncio.run(self._follow()))

    async def _follow(self) -> None:
        while not self._ended.is_set():
            if self._away.is_set():
                await asyncio.sleep(0.1)
                continue
            since = "" if self._seen is None else f"?since={self._seen}"
            address = f"ws://{NAME}:8000/ws/status{since}"
            where = {
                "host": "127.0.0.1",
                "port": 8000,
                "additional_headers": self._headers,
                "open_timeout": OPEN_SEC,
                "ping_interval": None,
            }
            async with websockets.connect(address, **where) as socket:
                self.connections += 1
                await self._read(socket)

    async def _read(self, socket: Any) -> None:
        while not (self._ended.is_set() or self._away.is_set()):
            try:
                async with asyncio.timeout(0.5):
                    self._take(json.loads(await socket.recv()))
            except TimeoutError:
                continue

    def _take(self, message: dict[str, Any]) -> None:
        number = message.get("event_id")
        self.resyncs += message["type"] == "resync"
        if number is None:
            return
        if message["type"] not in ("hello", "pong", "resync"):
            self.ids.append(number)
            self.types[number] = message["type"]
        self._seen = max(number, self._seen or 0)

    def leave(self) -> None:
        """Close the connection until `come_back`."""
        self._away.set()

    def come_back(self) -> None:
        self._away.clear()

    def is_connected(self) -> bool:
        """Return whether it has ever been; raises what has ended it."""
        if self._future.done():
            self._future.result()
        return self.connections > 0

    def has_seen(self, number: int) -> bool:
        """Return whether it has come to the event of that number."""
        return self.is_connected() and bool(self.ids) and self.ids[-1] >= number

    def end(self) -> None:
        self._ended.set()
        self._future.result(OPEN_SEC)
