"""The client on a database: Django is set up when it connects, and requests are answered in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import ModuleType
from typing import Any

from tasks_app.client.faults import NotConnected, Unavailable
from tasks_app.client.transport import Choice, Document, Request
from tasks_app.client.values import AbsurdConfig

THREADS = 4
FEED_POLL_SEC = 0.25


class DatabaseTransport:
    """Answers requests of the API in this process."""

    def __init__(self, config: AbsurdConfig) -> None:
        self._config = config
        self._threads: ThreadPoolExecutor | None = None
        self._prepared = False

    async def open(self) -> None:
        """Set Django up where that has not been done, and check the database."""
        await self.close()
        self._threads = ThreadPoolExecutor(THREADS, "absurd-client")
        # Without a limit of time, because an empty database is migrated first.
        await asyncio.get_running_loop().run_in_executor(self._threads, self._prepare)

    def _prepare(self) -> None:
        _module("database_setup").prepare(self._config)
        self._prepared = True
        _module("database_requests")

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)
        if self._prepared:
            self._prepared = False
            await asyncio.to_thread(_module("database_setup").disconnect)

    async def call(self, request: Request) -> Any:
        return await self._call(_module("database_requests").answer, request)

    async def spawn_batches(self, requests: Sequence[Request]) -> list[Any]:
        found: list[Any] = await self._call(_module("database_requests").answer_batches, requests)
        return found

    async def messages(self, choice: Choice, since: int | None) -> AsyncGenerator[Document, None]:
        """Poll the table of events."""
        feed = await asyncio.to_thread(_module, "database_requests")
        position: int = await self._call_until_answered(feed.position_now) if since is None else since
        yield {"type": "hello", "event_id": position}
        while True:
            found, position, more = await self._call_until_answered(feed.messages_after, position, choice)
            for message in found:
                yield message
            if not more:
                await asyncio.sleep(FEED_POLL_SEC)

    async def _call_until_answered(self, call: Callable[..., Any], *arguments: object) -> Any:
        while True:
            try:
                return await self._call(call, *arguments)
            except Unavailable:
                await asyncio.sleep(1.0)

    async def _call(self, call: Callable[..., Any], *arguments: object) -> Any:
        if self._threads is None:
            raise NotConnected("the client is not connected")
        answered = _module("database_setup").answered
        work = asyncio.get_running_loop().run_in_executor(self._threads, answered, call, *arguments)
        try:
            async with asyncio.timeout(self._config.timeout_sec):
                return await asyncio.shield(work)
        except TimeoutError as error:
            raise Unavailable(f"the database gave no answer within {self._config.timeout_sec:g} s") from error


def _module(name: str) -> ModuleType:
    """Import a module of the client that needs Django, which is set up by the first of them."""
    return import_module(f"tasks_app.client.{name}")
