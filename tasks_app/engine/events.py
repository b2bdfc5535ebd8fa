"""Events: written in one statement in the transaction of what they record, and how far a reader may read them.

Sequence numbers are drawn before commit, so a higher event can become visible first. Before its first event a
transaction takes a shared advisory lock whose key carries the sequence's last value: all its events lie above it. A
reader that stays at or below the lowest such lock, and reads in a later snapshot, never passes an uncommitted event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection, transaction

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
    """One event about a task, still to be written; `update` are the columns that readers get."""

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


NAMESPACE = 0x4142
"""Upper 16 bits of the advisory key that `absurd_record` takes; the lower 48 hold the sequence value."""

_SEQUENCE = "pg_get_serial_sequence('tasks_app_taskevent', 'id')::regclass"
_LAST_VALUE = f"coalesce(pg_sequence_last_value({_SEQUENCE}), 0)"

_LOWEST_LOCK = f"""
    SELECT min(((classid::bigint & 65535) << 32) | objid::bigint)
    FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND (classid::bigint >> 16) = {NAMESPACE}
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""  # noqa: S608


_ARCHIVED = "SELECT coalesce(max(last_event_id), 0) FROM tasks_app_archivedtask"


def readable_limit() -> tuple[int, int]:
    """Return (limit, last value): events up to `limit` are complete once read in a statement after this call.

    While the two differ, events between them are being withheld for a transaction that is still open.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_LAST_VALUE}")
        last_value: int = cursor.fetchone()[0]
        cursor.execute(_LOWEST_LOCK)
        lowest: int | None = cursor.fetchone()[0]
    return (last_value if lowest is None else min(last_value, lowest)), last_value


def archived_limit() -> int:
    """Return the number up to which events may be in the archive, where the feed does not replay them from."""
    with connection.cursor() as cursor:
        cursor.execute(_ARCHIVED)
        return int(cursor.fetchone()[0])
