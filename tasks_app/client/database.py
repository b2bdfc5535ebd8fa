"""The way by the database: Django is set up when the client connects, and its work is done in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import ModuleType
from typing import Any

from tasks_app.client.config import AbsurdConfig
from tasks_app.client.faults import NotConnected, Unavailable
from tasks_app.client.transport import Choice, Document, Page

THREADS = 4
FEED_POLL_SEC = 0.25


class DatabaseTransport:
    """Calls the actions themselves."""

    def __init__(self, config: AbsurdConfig) -> None:
        self._config = config
        self._threads: ThreadPoolExecutor | None = None
        self._prepared = False

    async def open(self) -> None:
        """Set Django up where that has not been done, and look at the database."""
        await self.close()
        self._threads = ThreadPoolExecutor(THREADS, "absurd-client")
        # Without a limit of time, because an empty database is migrated first.
        await asyncio.get_running_loop().run_in_executor(self._threads, self._prepare)

    def _prepare(self) -> None:
        import_module("tasks_app.client.database_setup").prepare(self._config)
        self._prepared = True
        _calls()

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)
        if self._prepared:
            self._prepared = False
            await asyncio.to_thread(import_module("tasks_app.client.database_setup").let_go)

    async def health(self, queue: str | None) -> Document:
        return await self._ask(_calls().health, queue)

    async def queue_names(self) -> list[str]:
        names: list[str] = await self._call(_calls().queue_names)
        return names

    async def queue_stats(self, queue: str) -> Document:
        return await self._ask(_calls().queue_stats, queue)

    async def spawn(self, body: Document, key: str) -> Document:
        return await self._ask(_calls().spawn, body, key)

    async def spawn_many(self, wanted: Sequence[tuple[Document, str]]) -> list[Document]:
        """Spawn all or none."""
        spawned: list[Document] = await self._call(_calls().spawn_many, wanted)
        return spawned

    async def task(self, task_id: str) -> Document:
        return await self._ask(_calls().task, task_id)

    async def cancel(self, task_id: str, reason: str) -> Document:
        return await self._ask(_calls().cancel, task_id, reason)

    async def retry(self, task_id: str, reason: str) -> Document:
        return await self._ask(_calls().retry, task_id, reason)

    async def reprioritize(self, task_id: str, priority: int, reason: str) -> Document:
        return await self._ask(_calls().reprioritize, task_id, priority, reason)

    async def page(self, filters: Mapping[str, Any], cursor: str | None, limit: int) -> Page:
        tasks, following = await self._call(_calls().page, filters, cursor, limit)
        return Page(tasks=tasks, cursor=following)

    async def messages(self, choice: Choice, since: int | None) -> AsyncGenerator[Document, None]:
        """Look into the event table again and again."""
        feed = await asyncio.to_thread(import_module, "tasks_app.client.database_feed")
        position: int = await self._call_until_answered(feed.position_now) if since is None else since
        yield {"type": "hello", "event_id": position}
        while True:
            found, position, more = await self._call_until_answered(feed.read, position, choice)
            for message in found:
                yield message
            if not more:
                await asyncio.sleep(FEED_POLL_SEC)

    async def _ask(self, call: Callable[..., Document], *arguments: object) -> Document:
        found: Document = await self._call(call, *arguments)
        return found

    async def _call_until_answered(self, call: Callable[..., Any], *arguments: object) -> Any:
        while True:
            try:
                return await self._call(call, *arguments)
            except Unavailable:
                await asyncio.sleep(1.0)

    async def _call(self, call: Callable[..., Any], *arguments: object) -> Any:
        if self._threads is None:
            raise NotConnected("the client is not connected")
        answered = import_module("tasks_app.client.database_setup").answered
        work = asyncio.get_running_loop().run_in_executor(self._threads, answered, call, *arguments)
        try:
            return await asyncio.wait_for(asyncio.shield(work), self._config.timeout_sec)
        except TimeoutError as error:
            raise Unavailable(f"the database gave no answer within {self._config.timeout_sec:g} s") from error


def _calls() -> ModuleType:
    """Import what needs Django, which is set up by now."""
    return import_module("tasks_app.client.database_calls")
