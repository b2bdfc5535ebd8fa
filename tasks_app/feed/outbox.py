"""What one client has still to be sent: bounded, in order, and not more of it than anyone can use.

Status changes are neither dropped nor put in another order. Of progress, counts and pongs only the latest waits.
Updates that leave the status as it is are merged into the next one while the task has had its messages of this second.
A client that does not keep up is told to start again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from uuid import UUID

from tasks_app.feed.messages import (
    MERGED,
    TASK,
    Message,
    Told,
    Wanted,
    merged,
    pong,
    queue_stats_update,
    resync,
    selected,
)
from tasks_app.feed.pacing import Pace

MESSAGES_MOST = 10_000
CHARACTERS_MOST = 16 * 1024 * 1024
STATS_GAP_SEC = 0.25
IN_A_ROW_MOST = 16
"""A client that has much to be sent lets the others and the API have a turn after so many."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Events after a position, in order; `position` is where the next batch goes on."""

    events: list[Told]
    position: int
    more: bool = False
    """Whether there are more events to read at once."""
    withheld: bool = False
    """Whether events wait for a transaction that is still open."""
    restarted: bool = False
    """Whether events after the position are missing: archived, or numbered anew as after a restored backup."""


@dataclass
class _Counts:
    """When each queue's counts were last told of, and which are to be told of once the gap is over."""

    told_at: dict[str, float] = field(default_factory=dict)
    due: set[str] = field(default_factory=set)


class Outbox:
    """The messages that one client has still to be sent, and the event up to which it was told."""

    def __init__(self, wanted: Wanted, position: int) -> None:
        self.wanted = wanted
        self.position = position
        self._waiting: OrderedDict[int, Message] = OrderedDict()
        self.characters = 0
        """How much waits."""
        self._number = 0
        self._latest: dict[tuple[str, str], int] = {}
        self._mergeable: dict[UUID, tuple[int, Told]] = {}
        self._counts = _Counts()
        self.paced = False
        """Set once the client has been told of the past, which need not take as long as it took to happen."""
        self._pace = Pace()
        self._filled = asyncio.Event()
        self._in_a_row = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, batch: Batch) -> None:
        """Queue what the client wants of a batch; one that cannot keep up is told to start again from there."""
        if batch.restarted:
            self.restart(batch.position)
            return
        fresh = [told for told in batch.events if told.event.id > self.position]
        wanted, changed = selected(self.wanted, fresh)
        for told in wanted:
            self._add_told(told)
        self.position = max(self.position, batch.position)
        for name in changed:
            self._tell_counts(name)
        self._check_size(batch.position)

    def ping(self) -> None:
        """Queue a pong."""
        self.add(pong(self.position))

    def add(self, message: Message) -> None:
        """Queue a message; it takes the place of one that it makes pointless."""
        if message.replaces is not None:
            self._remove(self._latest.get(message.replaces))
            self._latest[message.replaces] = self._number
        self._waiting[self._number] = message
        self._number += 1
        self.characters += len(message.text)
        self._filled.set()

    def restart(self, position: int) -> None:
        """Forget what waits and say so."""
        self.position = position
        self._waiting.clear()
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

    def _add_told(self, told: Told) -> None:
        assert told.message is not None  # noqa: S101 - selected() leaves the others out
        task_id = told.event.task_id
        if told.message.kind == TASK and task_id is not None:
            number, earlier = self._mergeable.pop(task_id, (-1, told))
            if number in self._waiting and self._pause_sec(task_id) > 0:
                self._remove(number)
                told = merged(earlier, told)
            if told.event.event_type in MERGED:
                self._mergeable[task_id] = (self._number, told)
        if told.message is not None:
            self.add(told.message)

    def _pause_sec(self, task_id: UUID | None) -> float:
        return self._pace.pause_sec(task_id) if self.paced else 0.0

    def _tell_counts(self, name: str) -> None:
        """Say that a queue's counts have changed: at once, then not again before the gap is over."""
        if name in self._counts.due:
            return
        loop = asyncio.get_running_loop()
        wait_sec = self._counts.told_at.get(name, float("-inf")) + STATS_GAP_SEC - loop.time()
        if wait_sec > 0:
            self._counts.due.add(name)
            loop.call_later(wait_sec, self._add_counts, name)
        else:
            self._add_counts(name)

    def _add_counts(self, name: str) -> None:
        self._counts.due.discard(name)
        self._counts.told_at[name] = asyncio.get_running_loop().time()
        self.add(queue_stats_update(name))

    def _remove(self, number: int | None) -> None:
        message = self._waiting.pop(number, None) if number is not None else None
        if message is None:
            return
        self.characters -= len(message.text)
        if message.replaces is not None and self._latest.get(message.replaces) == number:
            del self._latest[message.replaces]

    def _check_size(self, position: int) -> None:
        if len(self._waiting) > MESSAGES_MOST or self.characters > CHARACTERS_MOST:
            self.restart(position)
