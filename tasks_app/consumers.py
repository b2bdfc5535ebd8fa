"""The socket /ws/status."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from channels.auth import get_user
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.sessions.backends import db as sessions

from tasks_app.access import holder_of, is_local_reader, user_may
from tasks_app.api.permissions import READ
from tasks_app.feed import Socket, feed
from tasks_app.feed_messages import Wanted, hello, messages_for

BAD_QUERY, NOT_LOGGED_IN, NOT_PERMITTED, UNKNOWN_PATH = 4400, 4401, 4403, 4404
RECHECK_SEC = 60.0

logger = logging.getLogger(__name__)


class StatusConsumer(AsyncWebsocketConsumer):
    """Sends what happens to tasks, from `?since=` on if given, narrowed by `?queue=`, `?task_id=` and `?run=`."""

    channel_layer_alias = ""
    """None: events come from the database by way of the feed, so a socket needs nothing from Redis."""

    socket: Socket | None = None
    tasks: list[asyncio.Task[None]]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection, and let go of the feed however it ends."""
        self.tasks = []
        try:
            await super().__call__(scope, receive, send)
        finally:
            for task in self.tasks:
                task.cancel()
            if self.socket is not None:
                await feed().leave(self.socket)

    async def connect(self) -> None:
        """Accept first, so that the code of a refusal reaches the client."""
        code = await refusal(self.scope)
        await self.accept()
        if code is not None:
            await self.close(code)
            return
        try:
            wanted, since = read_query(self.scope["query_string"])
        except ValueError as error:
            await self.close(BAD_QUERY, str(error)[:100])
            return
        self.tasks = [asyncio.create_task(self._run(wanted, since)), asyncio.create_task(self._recheck())]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Ignore what a client says: it chose by its address."""

    async def _run(self, wanted: Wanted, since: int | None) -> None:
        try:
            await self._follow(wanted, since)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("a feed socket ended")
            with contextlib.suppress(Exception):
                await self.close(1011)

    async def _follow(self, wanted: Wanted, since: int | None) -> None:
        limit, last_value, archived = await feed().latest()
        lost = since is not None and not archived <= since <= last_value
        self.socket = socket = Socket(wanted, limit if since is None or lost else since)
        await self.send(hello(socket.position))
        if lost:
            socket.restart(limit)
        while not feed().join(socket):
            batch = await feed().catch_up(socket)
            if batch.restarted:
                socket.restart(batch.position)
                continue
            for message in messages_for(wanted, batch.events):
                await self.send(message)
            socket.position = batch.position
        while True:
            await self.send(await socket.next())

    async def _recheck(self) -> None:
        """End the connection of someone who has logged out or whose key was revoked."""
        while True:
            await asyncio.sleep(RECHECK_SEC)
            fresh = dict(self.scope)
            if self.scope["user"].is_authenticated:
                fresh["session"] = sessions.SessionStore(self.scope["session"].session_key)
                fresh["user"] = await get_user(fresh)
            code = await refusal(fresh)
            if code is not None:
                await self.close(code)
                return


class UnknownPathConsumer(AsyncWebsocketConsumer):
    """Answers every socket path but ours."""

    channel_layer_alias = ""

    async def connect(self) -> None:
        """Accept and close, so that the code reaches the client."""
        await self.accept()
        await self.close(UNKNOWN_PATH)


@database_sync_to_async
def refusal(scope: Any) -> int | None:
    """Return the close code for a caller who may not listen, or None for one who may."""
    headers = {name.lower(): value.decode("latin1") for name, value in scope["headers"]}
    key = headers.get(b"x-api-key")
    if key:
        holder = holder_of(key)
        if holder is None:
            return NOT_LOGGED_IN
        return None if READ.scope in holder.scopes else NOT_PERMITTED
    user = scope.get("user")
    if user is not None and user.is_authenticated:
        return None if user_may(user, READ.permission) else NOT_PERMITTED
    address = (scope.get("client") or (None,))[0]
    return None if is_local_reader(address, headers.get(b"host", "")) else NOT_LOGGED_IN


def read_query(query_string: bytes) -> tuple[Wanted, int | None]:
    """Return what the address asks for. Raises ValueError with the parameter's name."""
    query = parse_qs(query_string.decode("latin1"), keep_blank_values=True)
    unknown = set(query) - {"since", "queue", "task_id", "run"}
    if unknown:
        raise ValueError(f"unknown parameter {min(unknown)}")
    since = query.get("since", [None])[-1]
    if since is not None and not (since.isascii() and since.isdigit() and len(since) <= 18):
        raise ValueError("since is not a whole number")
    wanted = Wanted(
        queues=frozenset(query.get("queue", ())),
        task_ids=_uuids("task_id", query.get("task_id", ())),
        runs=_uuids("run", query.get("run", ())),
    )
    return wanted, None if since is None else int(since)


def _uuids(name: str, texts: Any) -> frozenset[UUID]:
    try:
        return frozenset(UUID(text) for text in texts)
    except ValueError:
        raise ValueError(f"{name} is not an id") from None
