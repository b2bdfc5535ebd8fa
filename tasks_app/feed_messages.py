"""What the feed says of an event, and to whom."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from tasks_app.models import TaskEvent

UNCOUNTED = frozenset({"progress", "reprioritized"})
"""Verbs after which every count of the queue is what it was."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which events a socket asked for; an empty set asks for all."""

    queues: frozenset[str] = frozenset()
    task_ids: frozenset[UUID] = frozenset()
    runs: frozenset[UUID] = frozenset()

    def includes(self, event: TaskEvent) -> bool:
        """Whether the socket wants to hear of the event."""
        return (
            (not self.queues or event.queue_name in self.queues)
            and (not self.task_ids or event.task_id in self.task_ids)
            and (not self.runs or event.run_id in self.runs)
        )


@dataclass(frozen=True, kw_only=True)
class Told:
    """An event and its message, written once for all sockets; None for events that are no change of a task."""

    event: TaskEvent
    message: str | None


def tell(events: Iterable[TaskEvent]) -> list[Told]:
    """Write each event's `task_update` message."""
    return [Told(event=event, message=task_update(event)) for event in events]


def task_update(event: TaskEvent) -> str | None:
    """Return the message of one event, or None when the task did not change, as after a refusal."""
    if not event.to_status:
        return None
    update = {"status": event.to_status, **event.detail.get("update", {})}
    return json.dumps(
        {
            "type": "task_update",
            "queue_name": event.queue_name,
            "task_id": str(event.task_id),
            "update": update,
            "event_id": event.id,
        }
    )


def hello(event_id: int) -> str:
    """Say after which event this socket's messages begin."""
    return json.dumps({"type": "hello", "event_id": event_id})


def resync(event_id: int) -> str:
    """Say that messages up to `event_id` were left out: the client must fetch the state and go on from there."""
    return json.dumps({"type": "resync", "event_id": event_id})


def queue_stats_update(queue_name: str) -> str:
    """Say that a queue's counts have changed."""
    return json.dumps({"type": "queue_stats_update", "queue_name": queue_name})


def messages_for(wanted: Wanted, batch: Sequence[Told]) -> Iterator[str]:
    """Yield what a socket gets of a batch: each update in order, then once for each queue that its counts changed."""
    changed: dict[str, None] = {}
    for told in batch:
        if told.message is not None and wanted.includes(told.event):
            yield told.message
            if told.event.verb not in UNCOUNTED:
                changed[told.event.queue_name] = None
    for name in changed:
        yield queue_stats_update(name)
