"""A client of the feed for tests, spoken to in the process itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator

from absurd_project.routing import make_application

LOCAL = ("127.0.0.1", 50_000)
in_thread = database_sync_to_async


class Listener:
    def __init__(self, query: str = "", *, path: str = "/ws/status", client: Any = LOCAL, **headers: str) -> None:
        named = {"host": "localhost:8000", **{name.replace("_", "-").lower(): text for name, text in headers.items()}}
        encoded = [(name.encode(), text.encode()) for name, text in named.items()]
        self.communicator = WebsocketCommunicator(make_application(), f"{path}?{query}" if query else path, encoded)
        self.communicator.scope["client"] = client

    async def open(self) -> int:
        """Connect and return the number that the server says hello with."""
        connected, _ = await self.communicator.connect(timeout=60)
        assert connected
        first = await self.next()
        assert first["type"] == "hello"
        return int(first["event_id"])

    async def refusal(self) -> int:
        """Connect and return the code with which the server closes."""
        await self.communicator.connect(timeout=60)
        closed = await self.communicator.receive_output(timeout=60)
        assert closed["type"] == "websocket.close"
        await self.close()
        return int(closed["code"])

    async def next(self, timeout: float = 60) -> dict[str, Any]:
        return json.loads(await self.communicator.receive_from(timeout=timeout))

    async def next_but_counts(self) -> dict[str, Any]:
        """Return the next message other than a change of counts, which comes before or after what it belongs to."""
        while (message := await self.next())["type"] == "queue_stats_update":
            pass
        return message

    async def updates(self, count: int, timeout: float = 60) -> list[dict[str, Any]]:
        """Return the next `count` task updates."""
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(timeout):
            while len(found) < count:
                message = await self.next(timeout)
                if message["type"] == "task_update":
                    found.append(message)
        return found

    async def close(self) -> None:
        await self.communicator.disconnect()


@contextlib.asynccontextmanager
async def listening(query: str = "", **options: Any) -> AsyncIterator[Listener]:
    listener = Listener(query, **options)
    await listener.open()
    try:
        yield listener
    finally:
        await listener.close()
