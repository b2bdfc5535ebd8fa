"""What the feed says, as JSON; `schema.json` beside this file describes every message."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tasks_app.models import TaskEvent

TASK, STATS, WORKER, PROGRESS, LOG = "task_update", "queue_stats_update", "worker_update", "progress", "log"
KINDS = frozenset({TASK, STATS, WORKER, PROGRESS, LOG})
"""What a client may choose from; hello, resync and pong are said to all."""
UNCOUNTED = frozenset({"reprioritized"})
"""Verbs of updates after which every count of the queue is what it was."""
MERGED = frozenset({"reprioritized", "cancel_requested"})
"""Verbs of updates that leave the status as it is, so that a later update may carry what they say."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message as it is sent, and what has to be known to send it."""

    kind: str
    text: str
    event_id: int | None = None
    task_id: UUID | None = None
    replaces: tuple[str, str] | None = None
    """A waiting message with the same mark says nothing any more once this one is there."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """An event and its message, written once for all sockets; None for events that the feed is silent about."""

    event: TaskEvent
    message: Message | None


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a client asked for; an empty set asks for all."""

    queues: frozenset[str] = frozenset()
    task_ids: frozenset[UUID] = frozenset()
    runs: frozenset[UUID] = frozenset()
    kinds: frozenset[str] = frozenset()

    def includes(self, event: TaskEvent) -> bool:
        """Whether the client wants to hear of what the event is about."""
        return (
            (not self.queues or self._queue_of(event))
            and (not self.task_ids or event.task_id in self.task_ids)
            and (not self.runs or event.run_id in self.runs)
        )

    def hears(self, kind: str) -> bool:
        """Whether the client wants this kind of message."""
        return not self.kinds or kind in self.kinds

    def _queue_of(self, event: TaskEvent) -> bool:
        """Whether the event is of a wanted queue; a worker is of every queue that it serves."""
        served = _worker(event).get("queues") if event.task_id is None else None
        return event.queue_name in self.queues or (isinstance(served, list) and not self.queues.isdisjoint(served))


def tell(events: Iterable[TaskEvent]) -> list[Told]:
    """Write each event's message."""
    return [Told(event=event, message=_message(event)) for event in events]


def selected(wanted: Wanted, batch: Sequence[Told]) -> tuple[list[Told], list[str]]:
    """Return what a client gets of a batch, and the queues whose counts have changed by what it wants to hear of."""
    about = [told for told in batch if told.message is not None and wanted.includes(told.event)]
    changed = {
        told.event.queue_name: None for told in about if _kind(told) == TASK and told.event.event_type not in UNCOUNTED
    }
    return [told for told in about if wanted.hears(_kind(told))], list(changed) if wanted.hears(STATS) else []


def merged(earlier: Told, later: Told) -> Told:
    """Return the later update of a task with what the earlier one said of other fields."""
    update = {**_update(earlier.event), **_update(later.event)}
    return Told(event=_with_update(later.event, update), message=_task_update(later.event, update))


def hello(event_id: int) -> Message:
    """Say after which event this client's messages begin."""
    return _numbered("hello", event_id)


def resync(event_id: int) -> Message:
    """Say that messages up to `event_id` were left out: the client must fetch the state and go on from there."""
    return _numbered("resync", event_id)


def pong(event_id: int) -> Message:
    """Answer a ping: every message up to `event_id` has been sent."""
    return _numbered("pong", event_id, replaces=("pong", ""))


def queue_stats_update(queue_name: str) -> Message:
    """Say that a queue's counts have changed."""
    text = json.dumps({"type": STATS, "queue_name": queue_name})
    return Message(kind=STATS, text=text, replaces=(STATS, queue_name))


def _numbered(kind: str, event_id: int, replaces: tuple[str, str] | None = None) -> Message:
    text = json.dumps({"type": kind, "event_id": event_id})
    return Message(kind=kind, text=text, event_id=event_id, replaces=replaces)


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


def _of_event(kind: str, event: TaskEvent, fields: dict[str, Any], replaces: tuple[str, str] | None = None) -> Message:
    text = json.dumps({"type": kind, **fields, "event_id": event.id})
    return Message(kind=kind, text=text, event_id=event.id, task_id=event.task_id, replaces=replaces)


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


def _kind(told: Told) -> str:
    return told.message.kind if told.message is not None else ""
