"""The socket /ws/status."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

from channels.auth import get_user
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.sessions.backends import db as sessions

from tasks_app.access import holder_of, is_local_reader, user_may
from tasks_app.api.permissions import READ
from tasks_app.feed.query import Asked, read_query
from tasks_app.feed.subscription import Subscription

BAD_QUERY, NOT_LOGGED_IN, NOT_PERMITTED, UNKNOWN_PATH = 4400, 4401, 4403, 4404
RECHECK_SEC = 60.0

logger = logging.getLogger(__name__)


class StatusConsumer(AsyncWebsocketConsumer):
    """Sends the feed to one client, who chooses by the address and may send pings."""

    channel_layer_alias = ""
    """None: events come from the database by way of the feed, so a socket needs nothing from Redis."""

    subscription: Subscription | None = None
    tasks: list[asyncio.Task[None]]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection, and let go of the feed however it ends."""
        self.tasks = []
        try:
            await super().__call__(scope, receive, send)
        finally:
            for task in self.tasks:
                task.cancel()
            if self.subscription is not None:
                await self.subscription.close()

    async def connect(self) -> None:
        """Accept first, so that the code of a refusal reaches the client."""
        code = await refusal(self.scope)
        await self.accept()
        if code is not None:
            await self.close(code)
            return
        try:
            asked = read_query(self.scope["query_string"])
        except ValueError:
            await self.close(BAD_QUERY)
            return
        self.tasks = [asyncio.create_task(self._run(asked)), asyncio.create_task(self._recheck())]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer a ping and ignore whatever else a client says: it chose by its address."""
        if self.subscription is not None and _is_ping(text_data):
            self.subscription.ping()

    async def _run(self, asked: Asked) -> None:
        self.subscription = subscription = Subscription(asked)
        try:
            async with contextlib.aclosing(subscription.messages()) as messages:
                async for message in messages:
                    await self.send(message.text)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("a feed socket ended")
            with contextlib.suppress(Exception):
                await self.close(1011)

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


def _is_ping(text: str | None) -> bool:
    if not text or len(text) > 200:
        return False
    try:
        said = json.loads(text)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("type") == "ping"


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
