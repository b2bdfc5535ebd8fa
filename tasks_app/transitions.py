"""The state machine: the only module that writes `Task.status`.

Every move is legal by the table, closes the open attempt, settles the tasks that depend on this one and writes one
numbered event, all in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from tasks_app import clock, dependencies, event_window, policies
from tasks_app.errors import InvalidTransition
from tasks_app.models import Attempt, Hold, Task, TaskEvent, TaskStatus
from tasks_app.models.task import FINISHED, FailureClass
from tasks_app.wakeups import publisher

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

RESULT_IN_EVENT_CHARS = 8_000
"""Larger results are left out of the event; a reader fetches the task."""


@dataclass(frozen=True, kw_only=True)
class Act:
    """Who does what to a task, and why."""

    verb: str
    actor: str
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


def record(
    task: Task, act: Act, *, from_status: str = "", to_status: str = "", update: Mapping[str, Any] | None = None
) -> None:
    """Write one event about the task in the current transaction and have the feed told after the commit."""
    event_window.enter()
    TaskEvent.objects.create(
        task_id=task.task_id,
        queue_name=task.queue_id,
        run_id=task.run.run_id if task.run else None,
        verb=act.verb,
        from_status=from_status,
        to_status=to_status,
        actor=act.actor,
        reason=act.reason,
        attempt=task.claim_epoch,
        detail={**act.detail, "update": dict(update or {})},
    )
    transaction.on_commit(publisher.announce)


def insert(tasks: Sequence[Task], act: Act) -> None:
    """Insert new pending tasks, one event each. Holds for dependencies must be set already."""
    for task in tasks:
        task.status = PENDING
        task.rank = policies.rank(task.priority, task.runnable_at)
    Task.objects.bulk_create(tasks, batch_size=1000)
    event_window.enter()
    TaskEvent.objects.bulk_create(
        [
            TaskEvent(
                task_id=task.task_id,
                queue_name=task.queue_id,
                run_id=task.run.run_id if task.run else None,
                verb=act.verb,
                to_status=PENDING,
                actor=act.actor,
                reason=act.reason,
                detail={**act.detail, "update": {"task_name": task.task_name, "priority": task.priority}},
            )
            for task in tasks
        ],
        batch_size=1000,
    )
    transaction.on_commit(publisher.announce)


def move(task: Task, to: TaskStatus, act: Act, *, attempt: Mapping[str, Any] | None = None, **fields: Any) -> None:
    """Move a locked task to another status.

    `fields` are further columns to set; `attempt` closes the open attempt with these columns.
    Raises InvalidTransition when the table has no such move.
    """
    before = TaskStatus(task.status)
    if (before, to) not in LEGAL:
        raise InvalidTransition(task.task_id, before, act.verb)
    root = task.unrunnable_because or task.task_id
    moment = clock.now()
    if task.claim_token is not None:
        Attempt.objects.filter(claim_token=task.claim_token).update(ended_at=moment, **(attempt or {}))
        fields.update(claim_token=None, lease_until=None, progress=None, progress_message="")
        fields.update(cancel_requested_at=None, cancel_requested_by="", cancel_reason="")
    fields["completed_at"] = moment if to in FINISHED else None
    if to == PENDING:
        fields["claimed_at"] = None
    Task.objects.filter(pk=task.pk).update(status=to, **fields)
    for name, value in {"status": to, **fields}.items():
        setattr(task, name, value)
    record(task, act, from_status=before, to_status=to, update=_update_of(task))
    _settle_children(task, before, root)


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


def _settle_children(task: Task, before: TaskStatus, root: UUID) -> None:
    """Release, condemn or revive the tasks that depend on this one; `root` is the failure it descends from."""
    if task.status == COMPLETED:
        release(
            [
                child
                for child in dependencies.lock_waiting_children(task.task_id)
                if dependencies.is_satisfied(child.task_id)
            ]
        )
    elif task.status == FAILED and task.failure_class == FailureClass.INVALID:
        for child in dependencies.lock_waiting_children(task.task_id):
            condemn(child, task)
    elif task.status == PENDING and before == FAILED:
        for child in dependencies.lock_unrunnable_children(task.task_id, root):
            act = Act(verb="revived", actor="queue", reason=f"{task.task_name} {task.task_id} is tried again")
            move(child, PENDING, act, hold=Hold.DEPENDENCY, error=None, failure_class="", unrunnable_because=None)


def release(children: Iterable[Task]) -> None:
    """Clear the dependency hold of locked pending tasks whose parents have all completed."""
    for child in children:
        Task.objects.filter(pk=child.pk).update(hold=child.hold & ~Hold.DEPENDENCY)
        record(
            child,
            Act(verb="released", actor="queue", reason="every task it waited for has completed"),
            to_status=PENDING,
        )


def condemn(child: Task, parent: Task) -> None:
    """Fail a locked pending task that can never run, because its parent failed for good."""
    told = parent.error or ""
    reason = told if parent.unrunnable_because else f"{parent} failed as invalid: {told}"
    move(
        child,
        FAILED,
        Act(verb="unrunnable", actor="queue", reason=reason[:1000]),
        error=reason,
        failure_class=FailureClass.INVALID,
        unrunnable_because=parent.unrunnable_because or parent.task_id,
    )


_CLAIM = """
WITH picked AS (
    SELECT id FROM (
        SELECT candidate.id, candidate.rank
        FROM tasks_app_queue AS queue
        CROSS JOIN unnest(%(memory_classes)s::smallint[]) AS class(n)
        CROSS JOIN LATERAL (
            SELECT id, rank FROM tasks_app_task
            WHERE queue_name = queue.name AND memory_class = class.n AND status = 'pending' AND hold = 0
            ORDER BY rank, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ) AS candidate
        WHERE queue.name = ANY(%(queues)s) AND queue.paused_at IS NULL
    ) AS merged
    ORDER BY rank, id LIMIT %(limit)s
), claimed AS (
    UPDATE tasks_app_task
    SET status = 'claimed', claim_token = gen_random_uuid(), claim_epoch = claim_epoch + 1, worker_id = %(worker)s,
        claimed_at = clock_timestamp(), lease_until = clock_timestamp() + lease_sec * interval '1 second',
        progress = NULL, progress_message = '', error = NULL, failure_class = ''
    WHERE id = ANY(ARRAY(SELECT id FROM picked))
    RETURNING *
), opened AS (
    INSERT INTO tasks_app_attempt
        (task_id, number, claim_token, worker_id, started_at,
         outcome, error, traceback, signal, log_path, log_tail, directory)
    SELECT task_id, claim_epoch, claim_token, worker_id, claimed_at, '', '', '', '', '', '', '' FROM claimed
), told AS (
    INSERT INTO tasks_app_taskevent
        (task_id, queue_name, run_id, verb, from_status, to_status, actor, reason, attempt, detail, created_at)
    SELECT claimed.task_id, queue_name, run.run_id, 'claimed', 'pending', 'claimed', %(actor)s, '', claim_epoch,
        jsonb_build_object('update', jsonb_build_object(
            'worker_id', %(label)s::text, 'retry_count', retry_count,
            'claimed_at', to_char(claimed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))),
        clock_timestamp()
    FROM claimed LEFT JOIN tasks_app_run AS run ON run.id = claimed.run_id
    ORDER BY rank, claimed.id
)
SELECT task_id, claim_token FROM claimed ORDER BY rank, id
"""


def claim(
    *, worker_pk: UUID, label: str, queues: Sequence[str], memory_classes: Sequence[int], limit: int
) -> list[tuple[UUID, UUID]]:
    """Claim up to `limit` tasks in one statement; return (task id, claim token) of each, first to run first."""
    with transaction.atomic():
        event_window.enter()
        with connection.cursor() as cursor:
            cursor.execute(
                _CLAIM,
                {
                    "queues": list(queues),
                    "memory_classes": list(memory_classes),
                    "limit": limit,
                    "worker": worker_pk,
                    "label": label,
                    "actor": f"worker:{label}",
                },
            )
            rows: list[tuple[UUID, UUID]] = cursor.fetchall()
        if rows:
            transaction.on_commit(publisher.announce)
    return rows
