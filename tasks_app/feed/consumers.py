"""The socket /ws/status."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.urls import re_path

from tasks_app.feed.access import (
    NOT_LOGGED_IN,
    TOO_MANY_REFUSALS,
    Listener,
    listener_of,
    redeem_ticket,
    refusal,
    refused_too_often,
    wait_for_refusal,
)
from tasks_app.feed.connection import SCOPE_KEY, Connection, Stalled
from tasks_app.feed.subscription import FeedQuery, Subscription, read_query

BAD_QUERY, UNKNOWN_PATH, STALLED, FAULT = 4400, 4404, 4408, 1011

logger = logging.getLogger(__name__)


class StatusConsumer(AsyncWebsocketConsumer):
    """Sends the feed to one client, who chooses by the address and may send pings."""

    channel_layer_alias = ""
    """None: events come from the database by way of the feed, so a socket needs nothing from Redis."""

    subscription: Subscription | None = None
    tasks: list[asyncio.Task[None]]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection, and leave the feed however it ends."""
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
        await self.accept()
        try:
            query = read_query(self.scope["query_string"])
        except ValueError:
            await self.close(BAD_QUERY)
            return
        listener = await _redeemed(query.ticket) if query.ticket else listener_of(self.scope)
        code = NOT_LOGGED_IN if listener is None else await refusal(listener)
        if listener is None or code is not None:
            too_often = code == NOT_LOGGED_IN and await refused_too_often(self.scope)
            await self.close(TOO_MANY_REFUSALS if too_often else code)
            return
        self.tasks = [asyncio.create_task(self._run(query)), asyncio.create_task(self._recheck(listener))]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer a ping; ignore other messages: a client selects by its address."""
        if self.subscription is not None and _is_ping(text_data):
            self.subscription.ping()

    async def _run(self, query: FeedQuery) -> None:
        self.subscription = subscription = Subscription(query)
        connection: Connection = self.scope[SCOPE_KEY]
        try:
            async with contextlib.aclosing(subscription.messages()) as messages:
                async for message in messages:
                    await connection.ready()
                    await self.send(message.text)
        except asyncio.CancelledError:
            raise
        except Stalled:
            await self.close(STALLED)
        except Exception:
            logger.exception("a feed socket ended")
            with contextlib.suppress(Exception):
                await self.close(FAULT)

    async def _recheck(self, listener: Listener) -> None:
        await self.close(await wait_for_refusal(listener))


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
        message = json.loads(text)
    except ValueError:
        return False
    return isinstance(message, dict) and message.get("type") == "ping"


@database_sync_to_async
def _redeemed(ticket: str) -> Listener | None:
    return redeem_ticket(ticket)


websocket_urlpatterns = [
    re_path(r"^ws/status/?$", StatusConsumer.as_asgi()),
    re_path(r"", UnknownPathConsumer.as_asgi()),
]
