"""The query of a client of the feed, and the messages that it is sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qs
from uuid import UUID

from tasks_app.feed import logs
from tasks_app.feed.messages import MESSAGE_TYPES, Message, Selection, hello
from tasks_app.feed.outbox import Outbox
from tasks_app.feed.reader import feed

NAMES = ("since", "queue", "task_id", "run", "types", "log", "ticket")
LOGS_MOST = 5


@dataclass(frozen=True, kw_only=True)
class FeedQuery:
    """The first event, the selection, the tasks whose logs are sent, and a ticket."""

    since: int | None = None
    selection: Selection = field(default_factory=Selection)
    logs: frozenset[UUID] = frozenset()
    ticket: str = ""


def read_query(query_string: bytes) -> FeedQuery:
    """Return the parsed query. Raises ValueError with the parameter's name, and never with its value."""
    query = parse_qs(query_string.decode("latin1"), keep_blank_values=True)
    unknown = set(query) - set(NAMES)
    if unknown:
        raise ValueError(f"unknown parameter of the feed; expected one of {', '.join(NAMES)}")
    logs = _uuids("log", query.get("log", ()))
    if len(logs) > LOGS_MOST:
        raise ValueError(f"log may name at most {LOGS_MOST} tasks")
    return FeedQuery(
        since=since_of(query["since"][-1]) if "since" in query else None,
        selection=Selection(
            queues=frozenset(query.get("queue", ())),
            task_ids=_uuids("task_id", query.get("task_id", ())),
            runs=_uuids("run", query.get("run", ())),
            types=_types(query.get("types", ())),
        ),
        logs=logs,
        ticket=query.get("ticket", [""])[-1],
    )


def since_of(text: str) -> int:
    """Return the number of an event. Raises ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError("since is not a whole number")
    return int(text)


def _types(texts: Iterable[str]) -> frozenset[str]:
    types = frozenset(each for text in texts for each in text.split(","))
    if not types <= MESSAGE_TYPES:
        raise ValueError(f"types is not a list of {', '.join(sorted(MESSAGE_TYPES))}")
    return types


def _uuids(name: str, texts: Iterable[str]) -> frozenset[UUID]:
    try:
        return frozenset(UUID(text) for text in texts)
    except ValueError:
        raise ValueError(f"{name} is not an id") from None


class Subscription:
    """What one client is sent. Close it however the connection ends."""

    def __init__(self, query: FeedQuery) -> None:
        self._query = query
        self._outbox: Outbox | None = None

    def ping(self) -> None:
        if self._outbox is not None:
            self._outbox.ping()

    async def messages(self) -> AsyncGenerator[Message, None]:
        """Yield hello and then every message, for ever."""
        since = self._query.since
        limit, last_value, archived = await feed().latest()
        lost = since is not None and not archived <= since <= last_value
        self._outbox = outbox = Outbox(self._query.selection, limit if since is None or lost else since)
        yield hello(outbox.position)
        if lost:
            outbox.restart(limit)
        while not feed().join(outbox):
            outbox.offer(await feed().catch_up(outbox))
            while len(outbox):
                yield await outbox.next()
        outbox.paced = True
        for task_id in self._query.logs:
            await logs.follow(task_id, outbox)
        while True:
            yield await outbox.next()

    async def close(self) -> None:
        if self._outbox is not None:
            logs.unfollow(self._outbox)
            await feed().leave(self._outbox)
