"""The feed as server-sent events, for clients that cannot open a socket.

Django first authenticates the caller and checks the query, as for every path of the API; then its threads and database
connections are free again and the stream continues in the event loop alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import Any

from tasks_app.feed.access import Listener, wait_for_refusal
from tasks_app.feed.connection import Connection, Stalled
from tasks_app.feed.messages import Message
from tasks_app.feed.subscription import FeedQuery, Subscription

PATH = "/api/absurd/feed"
GRANT = "absurd.feed"
HEARTBEAT_SEC = 15.0
OPENING = b"retry: 2000\n\n"
HEARTBEAT = b": heartbeat\n\n"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What the view has permitted, stored in the scope."""

    query: FeedQuery
    listener: Listener


class EventStreams:
    """Serves PATH, and leaves everything else to the application inside."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].rstrip("/") != PATH:
            await self._application(scope, receive, send)
            return
        connection = Connection(send)
        connection.forget_query()
        scope, answer = dict(scope), []

        async def hold(message: Any) -> None:
            answer.append(message)

        await self._application(scope, receive, hold)
        if GRANT in scope and answer and answer[0]["status"] == 200:
            await _Stream(scope[GRANT], connection, send).serve(answer[0], receive)
            return
        for message in answer:
            await send(message)


class _Stream:
    """One client's stream."""

    def __init__(self, grant: Grant, connection: Connection, send: Any) -> None:
        self._grant = grant
        self._connection = connection
        self._send = send
        self._subscription = Subscription(grant.query)

    async def serve(self, start: Any, receive: Any) -> None:
        """Send until the client leaves, may not listen any more, or does not read."""
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        await self._send({**start, "headers": headers})
        tasks = [
            asyncio.create_task(each)
            for each in (self._send_messages(), self._beat(), wait_for_refusal(self._grant.listener), _gone(receive))
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await self._end(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._subscription.close()

    async def _send_messages(self) -> None:
        await self._write(OPENING)
        async with contextlib.aclosing(self._subscription.messages()) as messages:
            async for message in messages:
                await self._connection.ready()
                await self._write(event_of(message))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SEC)
            if self._connection.held_bytes() == 0:
                await self._write(HEARTBEAT)

    async def _write(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _end(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            fault = task.exception() if task.done() else None
            if isinstance(fault, Stalled):
                self._connection.abort()
            elif fault is not None:
                logger.error("an event stream ended", exc_info=fault)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def event_of(message: Message) -> bytes:
    """Return a message as a server-sent event; its id is what a client sends as Last-Event-ID."""
    number = f"id: {message.event_id}\n" if message.event_id is not None else ""
    return f"{number}data: {message.text}\n\n".encode()


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
