"""One client's messages from hello on: the past it asked for, then what happens."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from tasks_app.feed import logs
from tasks_app.feed.messages import Message, hello
from tasks_app.feed.outbox import Outbox
from tasks_app.feed.query import Asked
from tasks_app.feed.reader import feed


class Subscription:
    """What one client is sent. Close it however the connection ends."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._outbox: Outbox | None = None

    def ping(self) -> None:
        """Have the client sent a pong after what already waits."""
        if self._outbox is not None:
            self._outbox.ping()

    async def messages(self) -> AsyncGenerator[Message, None]:
        """Yield hello and then every message, for ever."""
        since = self._asked.since
        limit, last_value, archived = await feed().latest()
        lost = since is not None and not archived <= since <= last_value
        self._outbox = outbox = Outbox(self._asked.wanted, limit if since is None or lost else since)
        yield hello(outbox.position)
        if lost:
            outbox.restart(limit)
        while not feed().join(outbox):
            outbox.offer(await feed().catch_up(outbox))
            while len(outbox):
                yield await outbox.next()
        outbox.paced = True
        for task_id in self._asked.logs:
            await logs.follow(task_id, outbox)
        while True:
            yield await outbox.next()

    async def close(self) -> None:
        """Let go of the feed."""
        if self._outbox is not None:
            logs.unfollow(self._outbox)
            await feed().leave(self._outbox)
