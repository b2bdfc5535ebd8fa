"""The queue of messages for one client: bounded and in order.

Status changes are neither dropped nor reordered. Of progress, counts and pongs only the latest is kept. A task gets at
most ten messages a second; until then, updates that leave its status as it is are merged into the next one. A client
that does not keep up gets a `resync`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from uuid import UUID

from tasks_app.feed.messages import (
    MERGED,
    TASK,
    EventMessage,
    Message,
    Selection,
    merged,
    pong,
    queue_stats_update,
    resync,
    selected,
)

MESSAGES_MOST = 10_000
CHARACTERS_MOST = 16 * 1024 * 1024
STATS_GAP_SEC = 0.25
PER_SEC = 10
WINDOW_SEC = 1.0
REMEMBERED_MOST = 2_000
IN_A_ROW_MOST = 16
"""After this many messages to one client, other clients and the API get a turn."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Events after a position, in order; `position` is where the next batch starts."""

    events: list[EventMessage]
    position: int
    more: bool = False
    """Whether there are more events to read at once."""
    withheld: bool = False
    """Whether events wait for a transaction that is still open."""
    restarted: bool = False
    """Whether events after the position are missing: archived, or numbered again as after a restored backup."""


class Pace:
    """At most PER_SEC messages a second about one task: when the last ones were sent."""

    def __init__(self) -> None:
        self._sent: dict[UUID, deque[float]] = {}

    def pause_sec(self, task_id: UUID | None) -> float:
        """Return how long the next message about the task has to wait; 0 when it need not."""
        sent = self._sent.get(task_id) if task_id is not None else None
        if sent is None or len(sent) < PER_SEC:
            return 0.0
        return max(0.0, sent[0] + WINDOW_SEC - time.monotonic())

    def sent_lately(self, task_id: UUID) -> int:
        """Return how many messages about the task were sent within the window."""
        since = time.monotonic() - WINDOW_SEC
        return sum(sent_at > since for sent_at in self._sent.get(task_id, ()))

    def note(self, task_id: UUID | None) -> None:
        if task_id is None:
            return
        if len(self._sent) > REMEMBERED_MOST:
            self._forget_old()
        self._sent.setdefault(task_id, deque(maxlen=PER_SEC)).append(time.monotonic())

    def _forget_old(self) -> None:
        since = time.monotonic() - WINDOW_SEC
        self._sent = {task_id: sent for task_id, sent in self._sent.items() if sent[-1] > since}


class Outbox:
    """The messages that wait for one client; `position` is the last event that they cover."""

    def __init__(self, selection: Selection, position: int) -> None:
        self.selection = selection
        self.position = position
        self._waiting: OrderedDict[int, Message] = OrderedDict()
        self._waiting_of: Counter[UUID | None] = Counter()
        self.characters = 0
        """Length of all waiting messages."""
        self._number = 0
        self._latest: dict[tuple[str, str], int] = {}
        self._mergeable: dict[UUID, tuple[int, EventMessage]] = {}
        self._counts_sent_at: dict[str, float] = {}
        self._counts_due: set[str] = set()
        self.paced = False
        """Set once the client has had the past events, which are sent as fast as it takes them."""
        self._pace = Pace()
        self._filled = asyncio.Event()
        self._in_a_row = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, batch: Batch) -> None:
        """Queue what the client selected of a batch; for one that does not keep up, a resync to its end."""
        if batch.restarted:
            self.restart(batch.position)
            return
        fresh = [item for item in batch.events if item.event.id > self.position]
        wanted, changed = selected(self.selection, fresh)
        for item in wanted:
            self._add_event(item)
        self.position = max(self.position, batch.position)
        for name in changed:
            self._queue_counts(name)
        self._check_size(batch.position)

    def ping(self) -> None:
        self.add(pong(self.position))

    def add(self, message: Message) -> None:
        """Queue a message; it replaces a waiting one that it makes obsolete."""
        if message.replaces is not None:
            self._remove(self._latest.get(message.replaces))
            self._latest[message.replaces] = self._number
        self._waiting[self._number] = message
        self._waiting_of[message.task_id] += 1
        self._number += 1
        self.characters += len(message.text)
        self._filled.set()

    def restart(self, position: int) -> None:
        """Drop what waits and queue a resync instead."""
        self.position = position
        self._waiting.clear()
        self._waiting_of.clear()
        self._latest.clear()
        self._mergeable.clear()
        self.characters = 0
        self.add(resync(position))

    async def next(self) -> Message:
        """Return the next message, waiting for one."""
        self._in_a_row += 1
        if self._in_a_row > IN_A_ROW_MOST:
            self._in_a_row = 0
            await asyncio.sleep(0)
        while True:
            while not self._waiting:
                self._in_a_row = 0
                self._filled.clear()
                await self._filled.wait()
            number, message = next(iter(self._waiting.items()))
            if (pause_sec := self._pause_sec(message.task_id)) > 0:
                await asyncio.sleep(pause_sec)
                continue
            self._remove(number)
            self._pace.note(message.task_id)
            return message

    def _add_event(self, item: EventMessage) -> None:
        assert item.message is not None  # noqa: S101 - selected() leaves the others out
        task_id = item.event.task_id
        if item.message.type == TASK and task_id is not None:
            number, earlier = self._mergeable.pop(task_id, (-1, item))
            if number in self._waiting and self._has_had_enough(task_id):
                self._remove(number)
                item = merged(earlier, item)
            if item.event.event_type in MERGED:
                self._mergeable[task_id] = (self._number, item)
        if item.message is not None:
            self.add(item.message)

    def _has_had_enough(self, task_id: UUID) -> bool:
        """Whether those of its messages that wait, with those just sent, are as many as may be sent in a second."""
        return self.paced and self._pace.sent_lately(task_id) + self._waiting_of[task_id] >= PER_SEC

    def _pause_sec(self, task_id: UUID | None) -> float:
        return self._pace.pause_sec(task_id) if self.paced else 0.0

    def _queue_counts(self, name: str) -> None:
        """Queue a message that a queue's counts have changed: at once, then not again before the gap is over."""
        if name in self._counts_due:
            return
        loop = asyncio.get_running_loop()
        wait_sec = self._counts_sent_at.get(name, float("-inf")) + STATS_GAP_SEC - loop.time()
        if wait_sec > 0:
            self._counts_due.add(name)
            loop.call_later(wait_sec, self._add_counts, name)
        else:
            self._add_counts(name)

    def _add_counts(self, name: str) -> None:
        self._counts_due.discard(name)
        self._counts_sent_at[name] = asyncio.get_running_loop().time()
        self.add(queue_stats_update(name))

    def _remove(self, number: int | None) -> None:
        message = self._waiting.pop(number, None) if number is not None else None
        if message is None:
            return
        self.characters -= len(message.text)
        self._waiting_of -= Counter((message.task_id,))
        if message.replaces is not None and self._latest.get(message.replaces) == number:
            del self._latest[message.replaces]

    def _check_size(self, position: int) -> None:
        if len(self._waiting) > MESSAGES_MOST or self.characters > CHARACTERS_MOST:
            self.restart(position)
