"""Tasks from one status to another, one or many in the same few statements, with all that follows from it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, models

from tasks_app import cleaning
from tasks_app.engine import archive, dependencies, limits, notify
from tasks_app.engine.events import Change, Record, record_many
from tasks_app.errors import InvalidTransition
from tasks_app.models import Attempt, Hold, Task, TaskStatus
from tasks_app.models.task import FINISHED, FailureClass
from tasks_app.postgresql import clock, statements

PENDING, CLAIMED = TaskStatus.PENDING, TaskStatus.CLAIMED
COMPLETED, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED

LEGAL: frozenset[tuple[str, str]] = frozenset(
    {
        (PENDING, CLAIMED),
        (CLAIMED, COMPLETED),
        (CLAIMED, FAILED),
        (CLAIMED, CANCELLED),
        (CLAIMED, PENDING),
        (PENDING, CANCELLED),
        (PENDING, FAILED),
        (FAILED, PENDING),
        (CANCELLED, PENDING),
    }
)


_TYPES = {"CharField": "text", "TextField": "text", "JSONField": "jsonb"}


def write(sql: str, model: type[models.Model], rows: Sequence[tuple[Any, Mapping[str, Any]]], **params: Any) -> None:
    """Run an UPDATE over the rows' keys, with CHANGES and GIVEN filled in; all rows must name the same columns.

    A value that all rows share is sent once, not as an array, so that most statements have few texts.
    """
    sets, names, arrays = [], ["key"], []
    for name in rows[0][1]:
        field: Any = model._meta.get_field(name)
        kind: str = _TYPES.get(field.get_internal_type()) or field.db_type(connection)
        values = [_stored(field, kind, changes[name]) for _, changes in rows]
        shared = all(value == values[0] for value in values)
        params[name] = values[0] if shared else values
        sets.append(f"{field.column} = %({name})s::{kind}" if shared else f"{field.column} = given.{name}")
        if not shared:
            names.append(name)
            arrays.append(f"%({name})s::{kind}[]")
    given = f"unnest({', '.join(['%(keys)s', *arrays])}) AS given({', '.join(names)})"
    statements.run(
        sql.replace("CHANGES", ", ".join(sets)).replace("GIVEN", given), {**params, "keys": [key for key, _ in rows]}
    )


def _stored(field: Any, kind: str, value: Any) -> Any:
    """Return the value as an array of such values may hold it."""
    if value is None:
        return None
    if kind == "jsonb":
        return cleaning.dumps(value)
    return (
        cleaning.text(value, cleaning.TRACEBACK_CHARS_MOST)
        if kind == "text"
        else field.get_db_prep_save(value, connection)
    )


RESULT_IN_EVENT_CHARS = 8_000
"""Larger results are left out of the event; a reader fetches the task."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """A locked task, where it goes, and who has it go there."""

    task: Task
    to: TaskStatus
    act: Change
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Further columns to set."""
    attempt: Mapping[str, Any] = field(default_factory=dict)
    """Columns with which its open attempt is closed."""


_MOVE = """
UPDATE tasks_app_task AS task SET status = %(to)s, CHANGES FROM GIVEN
WHERE task.id = given.key AND task.id = ANY(%(keys)s::bigint[])
"""
_SET = """
UPDATE tasks_app_task AS task SET CHANGES FROM GIVEN
WHERE task.id = given.key AND task.id = ANY(%(keys)s::bigint[])
"""
_CLOSE = """
UPDATE tasks_app_attempt AS attempt SET CHANGES FROM GIVEN
WHERE attempt.claim_token = given.key AND attempt.claim_token = ANY(%(keys)s::uuid[])
"""
_UNCLAIMED: Mapping[str, Any] = {
    "claim_token": None,
    "lease_until": None,
    "progress": None,
    "progress_message": "",
    "progress_metrics": {},
    "cancel_requested_at": None,
    "cancel_requested_by": "",
    "cancel_reason": "",
}


def move(task: Task, to: TaskStatus, act: Change, *, attempt: Mapping[str, Any] | None = None, **fields: Any) -> None:
    """Move a locked task to another status.

    `fields` are further columns to set; `attempt` closes the open attempt with these columns.
    Raises InvalidTransition when the table has no such move.
    """
    move_many([Move(task=task, to=to, act=act, fields=fields, attempt=attempt or {})])


def move_many(moves: Sequence[Move]) -> None:
    """Move locked tasks, each once, in the order given as far as events tell of it; they share a moment.

    Raises InvalidTransition before anything has changed when the table has no such move.
    """
    if not moves:
        return
    befores = [TaskStatus(each.task.status) for each in moves]
    for each, before in zip(moves, befores, strict=True):
        if (before, each.to) not in LEGAL:
            raise InvalidTransition(each.task.task_id, before, each.act.event_type)
    roots = {each.task.task_id: each.task.unrunnable_because or each.task.task_id for each in moves}
    moment = clock.now()
    _close_attempts(moves, moment)
    _write(moves, moment)
    record_many(
        [
            Record(task=each.task, act=each.act, from_status=before, to_status=each.to, update=_update_of(each.task))
            for each, before in zip(moves, befores, strict=True)
        ]
    )
    unclaimed = [each.task.task_id for each, before in zip(moves, befores, strict=True) if before == CLAIMED]
    if unclaimed:
        admit(limits.free(unclaimed))
    notify.wake_workers({each.task.queue_id for each in moves if each.to == PENDING and each.task.hold == 0})
    finished = [each.task.task_id for each in moves if each.to in FINISHED]
    if finished:
        settle(dependencies.lock_waiting_children(finished))
    again = [each.task for each, before in zip(moves, befores, strict=True) if (before, each.to) == (FAILED, PENDING)]
    if again:
        _revive_children(again, roots)


def set_ranks(tasks: Sequence[Task]) -> None:
    """Store the priorities and ranks that locked tasks have been given."""
    if tasks:
        write(_SET, Task, [(task.pk, {"priority": task.priority, "rank": task.rank}) for task in tasks])


_Rows = list[tuple[Any, Mapping[str, Any]]]
"""Keys of rows, each with the columns to set."""


def _close_attempts(moves: Iterable[Move], moment: datetime) -> None:
    held = [each for each in moves if each.task.claim_token is not None]
    for rows in _alike([(each.task.claim_token, {"ended_at": moment, **each.attempt}) for each in held]):
        write(_CLOSE, Attempt, rows)


def _write(moves: Iterable[Move], moment: datetime) -> None:
    by_status: dict[TaskStatus, _Rows] = {}
    for each in moves:
        columns = {**each.fields, **(_UNCLAIMED if each.task.claim_token is not None else {})}
        columns["completed_at"] = moment if each.to in FINISHED else None
        if each.to == PENDING:
            columns["claimed_at"] = None
        by_status.setdefault(each.to, []).append((each.task.pk, columns))
        for name, value in {"status": each.to, **columns}.items():
            setattr(each.task, name, value)
    for to, changed in by_status.items():
        for rows in _alike(changed):
            write(_MOVE, Task, rows, to=str(to))


def _alike(rows: _Rows) -> Collection[_Rows]:
    """Return the rows in groups that set the same columns."""
    groups: dict[tuple[str, ...], _Rows] = {}
    for key, columns in rows:
        groups.setdefault(tuple(columns), []).append((key, columns))
    return groups.values()


def admit(limit_ids: Collection[int] | None = None) -> None:
    """Let parked tasks come forward under limits that have free slots, and wake those who can claim them."""
    if limit_ids is None or limit_ids:
        limits.trim(limit_ids)
        notify.wake_workers(limits.admit(limit_ids))


def _update_of(task: Task) -> dict[str, Any]:
    update: dict[str, Any] = {"retry_count": task.retry_count}
    if task.completed_at is not None:
        update["completed_at"] = clock.stamp(task.completed_at)
    if task.status == COMPLETED and len(str(task.result)) <= RESULT_IN_EVENT_CHARS:
        update["result"] = task.result
    if task.error and task.status in (FAILED, PENDING):
        update["error"] = task.error[:1000]
        update["failure_class"] = task.failure_class
    return update


def _revive_children(parents: Sequence[Task], roots: Mapping[UUID, UUID]) -> None:
    """Have those wait again that failed only because of what these descend from; `roots` are those failures."""
    names = {parent.task_id: parent.task_name for parent in parents}
    found = dependencies.lock_unrunnable_children({task_id: roots[task_id] for task_id in names})
    move_many(
        [
            Move(
                task=child,
                to=PENDING,
                act=Change(event_type="revived", actor="queue", reason=f"{names[parent]} {parent} is retried"),
                fields={"hold": Hold.DEPENDENCY, "error": None, "failure_class": "", "unrunnable_because": None},
            )
            for child, parent in found
        ]
    )


def settle(waiting: Collection[Task]) -> int:
    """Release those of the locked waiting tasks that need not wait any longer, and fail those that can never run.

    Return how many are neither.
    """
    if not waiting:
        return 0
    done = dependencies.satisfied(waiting)
    release(done)
    gone_on = {child.pk for child in done}
    left = [child for child in waiting if child.pk not in gone_on]
    lost = dependencies.hopeless(left) if left else []
    move_many([_condemned(child, parent) for child, parent in lost])
    return len(left) - len(lost)


_RELEASE = f"""
UPDATE tasks_app_task AS task SET joined_at = absurd_now(), hold = (hold & ~2) | {limits.PARK}
WHERE id = ANY(%(ids)s::bigint[])
RETURNING id, hold, concurrency_key, queue_name, joined_at
"""  # noqa: S608 - a constant


def release(children: Collection[Task]) -> None:
    """Let locked pending tasks go on that need not wait for others any longer; it happens once in a task's life."""
    if not children:
        return
    rows = {row[0]: row for row in statements.run(_RELEASE, {"ids": [child.pk for child in children]})}
    records = []
    for child in children:
        _, child.hold, _, _, child.joined_at = rows[child.pk]
        reason = "all its dependencies have completed" if child.join_quorum is None else "its quorum has completed"
        act = Change(event_type="released", actor="queue", reason=reason)
        records.append(Record(task=child, act=act, to_status=PENDING))
    record_many(records)
    if any(child.hold & Hold.LIMIT for child in children):
        admit()
    notify.wake_workers({child.queue_id for child in children if child.hold == 0})


def condemn(child: Task, parent: Task) -> None:
    """Fail a locked pending task that can never run, because its parent failed for good."""
    move_many([_condemned(child, parent)])


def _condemned(child: Task, parent: Task) -> Move:
    cause = parent.error or ""
    how = f"is archived as {parent.status}" if archive.is_archived(parent) else "failed as invalid"
    reason = cause if parent.unrunnable_because else f"{parent} {how}: {cause}"
    return Move(
        task=child,
        to=FAILED,
        act=Change(event_type="unrunnable", actor="queue", reason=reason[:1000]),
        fields={
            "error": reason,
            "failure_class": FailureClass.INVALID,
            "unrunnable_because": parent.unrunnable_because or parent.task_id,
        },
    )
