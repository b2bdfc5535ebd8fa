"""Events, however many, written in one statement in the transaction of what they tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks_app import cleaning
from tasks_app.auth import client_address
from tasks_app.engine import notify
from tasks_app.models import Task
from tasks_app.postgresql import statements


@dataclass(frozen=True, kw_only=True)
class Change:
    """Who does what to a task, and why."""

    event_type: str
    actor: str
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One event about a task, still to be written; `update` are the columns that readers are told of."""

    task: Task
    act: Change
    from_status: str = ""
    to_status: str = ""
    update: Mapping[str, Any] = field(default_factory=dict)


_RECORD = "SELECT absurd_record(ARRAY(SELECT jsonb_populate_recordset(NULL::absurd_event, %(events)s::jsonb)))"


def record_many(records: Sequence[Record]) -> None:
    """Write events in the order given in the current transaction and wake the feed after the commit."""
    _write(
        [
            {
                "task_id": str(each.task.task_id),
                "queue_name": each.task.queue_id,
                "run_id": str(each.task.run.run_id) if each.task.run else None,
                "from_status": str(each.from_status),
                "to_status": str(each.to_status),
                "attempt": each.task.claim_epoch,
                **_described(each.act, {"update": dict(each.update)}),
            }
            for each in records
        ]
    )


def record(
    task: Task, act: Change, *, from_status: str = "", to_status: str = "", update: Mapping[str, Any] | None = None
) -> None:
    """Write one event about the task in the current transaction and wake the feed after the commit."""
    record_many([Record(task=task, act=act, from_status=from_status, to_status=to_status, update=update or {})])


def announce(act: Change, *, queue_name: str = "", run_id: UUID | None = None) -> None:
    """Write one event that is about no single task: a queue, a limit, a schedule, a run or everything."""
    about = {"queue_name": queue_name, "run_id": None if run_id is None else str(run_id)}
    _write([{**about, "from_status": "", "to_status": "", "attempt": 0, **_described(act, {})}])


def _described(act: Change, more: Mapping[str, Any]) -> dict[str, Any]:
    detail = {**client_address.detail(), **act.detail, **more}
    reason = cleaning.text(act.reason)
    return {"event_type": act.event_type, "actor": cleaning.text(act.actor), "reason": reason, "detail": detail}


def _write(events: Sequence[Mapping[str, Any]]) -> None:
    if events:
        statements.run(_RECORD, {"events": cleaning.dumps(events)})
        transaction.on_commit(notify.publisher.announce)
