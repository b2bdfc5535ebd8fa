"""Messages of the feed, as JSON; `schema.json` beside this file describes each of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tasks_app.models import TaskEvent

TASK, STATS, WORKER, PROGRESS, LOG = "task_update", "queue_stats_update", "worker_update", "progress", "log"
MESSAGE_TYPES = frozenset({TASK, STATS, WORKER, PROGRESS, LOG})
"""Types that a client may choose; hello, resync and pong are sent to all."""
UNCOUNTED = frozenset({"reprioritized"})
"""Types of events that change no count of the queue."""
CLAIMING = frozenset({"paused", "resumed", "frozen", "thawed", "enabled", "disabled"})
"""Types of events that say whether a queue, or without a queue all, may be claimed from."""
MERGED = frozenset({"reprioritized", "cancel_requested"})
"""Types of events that leave the status as it is, so that a later update may include their fields."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message as it is sent, and what has to be known to send it."""

    type: str
    text: str
    event_id: int | None = None
    task_id: UUID | None = None
    replaces: tuple[str, str] | None = None
    """This message makes a waiting one with the same value obsolete."""


@dataclass(frozen=True, kw_only=True)
class EventMessage:
    """An event and its message, written once for all sockets; None for events that have no message."""

    event: TaskEvent
    message: Message | None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a client has selected; an empty set selects all."""

    queues: frozenset[str] = frozenset()
    task_ids: frozenset[UUID] = frozenset()
    runs: frozenset[UUID] = frozenset()
    types: frozenset[str] = frozenset()

    def includes(self, event: TaskEvent) -> bool:
        """Whether the event is about a selected queue, task and run."""
        return (
            (not self.queues or self._queue_of(event))
            and (not self.task_ids or event.task_id in self.task_ids)
            and (not self.runs or event.run_id in self.runs)
        )

    def has_type(self, message_type: str) -> bool:
        return not self.types or message_type in self.types

    def _queue_of(self, event: TaskEvent) -> bool:
        """Whether the event belongs to a selected queue; a worker belongs to every queue that it serves."""
        served = _worker(event).get("queues") if event.task_id is None else None
        return event.queue_name in self.queues or (isinstance(served, list) and not self.queues.isdisjoint(served))


def messages_of(events: Iterable[TaskEvent]) -> list[EventMessage]:
    """Write each event's message."""
    return [EventMessage(event=event, message=_message(event)) for event in events]


def selected(selection: Selection, batch: Sequence[EventMessage]) -> tuple[list[EventMessage], list[str]]:
    """Return the messages of a batch that a client has selected, and the queues of which these events changed counts
    or state; an empty name stands for all queues.
    """
    about = [item for item in batch if item.message is not None and selection.includes(item.event)]
    changed = {item.event.queue_name: None for item in batch if _changes_queue(selection, item)}
    queues = list(changed) if selection.has_type(STATS) else []
    return [item for item in about if selection.has_type(_type(item))], queues


def _changes_queue(selection: Selection, item: EventMessage) -> bool:
    event = item.event
    if event.event_type in CLAIMING:
        return not event.queue_name or not selection.queues or event.queue_name in selection.queues
    return _type(item) == TASK and event.event_type not in UNCOUNTED and selection.includes(event)


def merged(earlier: EventMessage, later: EventMessage) -> EventMessage:
    """Return the later update of a task with the fields of the earlier one that it does not have itself."""
    update = {**_update(earlier.event), **_update(later.event)}
    return EventMessage(event=_with_update(later.event, update), message=_task_update(later.event, update))


def hello(event_id: int) -> Message:
    """Return the message with the event after which this client's messages begin."""
    return _numbered("hello", event_id)


def resync(event_id: int) -> Message:
    """Return the message that events up to `event_id` were left out: the client must fetch the state again."""
    return _numbered("resync", event_id)


def pong(event_id: int) -> Message:
    """Answer a ping: every message up to `event_id` has been sent."""
    return _numbered("pong", event_id, replaces=("pong", ""))


def queue_stats_update(queue_name: str) -> Message:
    """Return the message that the counts of a queue have changed, or its state; of all queues for an empty name."""
    text = json.dumps({"type": STATS, "queue_name": queue_name})
    return Message(type=STATS, text=text, replaces=(STATS, queue_name))


def _numbered(message_type: str, event_id: int, replaces: tuple[str, str] | None = None) -> Message:
    text = json.dumps({"type": message_type, "event_id": event_id})
    return Message(type=message_type, text=text, event_id=event_id, replaces=replaces)


def _message(event: TaskEvent) -> Message | None:
    if event.task_id is None:
        return _worker_update(event) if _worker(event) else None
    if event.event_type == "progress":
        return _progress(event)
    return _task_update(event, _update(event)) if event.to_status else None


def _task_update(event: TaskEvent, update: dict[str, Any]) -> Message:
    fields = {"queue_name": event.queue_name, "task_id": str(event.task_id), "update": update}
    return _of_event(TASK, event, fields)


def _progress(event: TaskEvent) -> Message:
    update = _update(event)
    fields = {
        "queue_name": event.queue_name,
        "task_id": str(event.task_id),
        "progress": update.get("progress"),
        "progress_message": update.get("progress_message") or "",
        "progress_metrics": update.get("progress_metrics") or {},
    }
    return _of_event(PROGRESS, event, fields, replaces=(PROGRESS, str(event.task_id)))


def _worker_update(event: TaskEvent) -> Message:
    fields = {"event_type": event.event_type, "worker": _worker(event), "actor": event.actor, "reason": event.reason}
    return _of_event(WORKER, event, fields)


def _of_event(name: str, event: TaskEvent, fields: dict[str, Any], replaces: tuple[str, str] | None = None) -> Message:
    text = json.dumps({"type": name, **fields, "event_id": event.id})
    return Message(type=name, text=text, event_id=event.id, task_id=event.task_id, replaces=replaces)


def _update(event: TaskEvent) -> dict[str, Any]:
    return {"status": event.to_status, **event.detail.get("update", {})}


def _with_update(event: TaskEvent, update: dict[str, Any]) -> TaskEvent:
    return TaskEvent(
        id=event.id,
        task_id=event.task_id,
        queue_name=event.queue_name,
        run_id=event.run_id,
        event_type=event.event_type,
        to_status=event.to_status,
        detail={"update": {name: value for name, value in update.items() if name != "status"}},
    )


def _worker(event: TaskEvent) -> dict[str, Any]:
    worker = event.detail.get("worker")
    return worker if isinstance(worker, dict) else {}


def _type(item: EventMessage) -> str:
    return item.message.type if item.message is not None else ""
