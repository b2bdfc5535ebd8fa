"""One task at a time from one status to another, with all that follows from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks_app import archive, clock, dependencies, event_window, limits, peer, statements, wakeups
from tasks_app.errors import InvalidTransition
from tasks_app.models import Attempt, Hold, Task, TaskEvent, TaskStatus
from tasks_app.models.task import FINISHED, FailureClass
from tasks_app.transitions.table import CLAIMED, COMPLETED, FAILED, LEGAL, PENDING

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
        detail={**peer.detail(), **act.detail, "update": dict(update or {})},
        created_at=clock.DatabaseNow(),
    )
    transaction.on_commit(wakeups.publisher.announce)


def announce(act: Act, *, queue_name: str = "", run_id: UUID | None = None) -> None:
    """Write one event that is about no single task: a queue, a limit, a schedule, a run or everything."""
    event_window.enter()
    TaskEvent.objects.create(
        queue_name=queue_name,
        run_id=run_id,
        verb=act.verb,
        actor=act.actor,
        reason=act.reason,
        detail={**peer.detail(), **act.detail},
        created_at=clock.DatabaseNow(),
    )
    transaction.on_commit(wakeups.publisher.announce)


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
        fields.update(claim_token=None, lease_until=None, progress=None, progress_message="", progress_metrics={})
        fields.update(cancel_requested_at=None, cancel_requested_by="", cancel_reason="")
    fields["completed_at"] = moment if to in FINISHED else None
    if to == PENDING:
        fields["claimed_at"] = None
    Task.objects.filter(pk=task.pk).update(status=to, **fields)
    for name, value in {"status": to, **fields}.items():
        setattr(task, name, value)
    record(task, act, from_status=before, to_status=to, update=_update_of(task))
    if before == CLAIMED:
        admit(limits.free([task.task_id]))
    if to == PENDING and task.hold == 0:
        wakeups.wake_workers([task.queue_id])
    _settle_children(task, before, root)


def admit(limit_ids: Collection[int] | None = None) -> None:
    """Let parked tasks come forward under limits that have free slots, and wake those who can claim them."""
    if limit_ids is None or limit_ids:
        limits.trim(limit_ids)
        wakeups.wake_workers(limits.admit(limit_ids))


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
    if task.status in FINISHED:
        settle(dependencies.lock_waiting_children([task.task_id]))
    elif task.status == PENDING and before == FAILED:
        for child in dependencies.lock_unrunnable_children(task.task_id, root):
            act = Act(verb="revived", actor="queue", reason=f"{task.task_name} {task.task_id} is tried again")
            move(child, PENDING, act, hold=Hold.DEPENDENCY, error=None, failure_class="", unrunnable_because=None)


def settle(waiting: Collection[Task]) -> int:
    """Release those of the locked waiting tasks that need not wait any longer, and fail those that wait in vain.

    Return how many are neither.
    """
    if not waiting:
        return 0
    done = dependencies.satisfied(waiting)
    release(done)
    left = [child for child in waiting if child not in done]
    lost = dependencies.hopeless(left) if left else []
    for child in lost:
        condemn(child, dependencies.first_hopeless_parent(child))
    return len(left) - len(lost)


_RELEASE = f"""
UPDATE tasks_app_task AS task SET joined_at = absurd_now(), hold = (hold & ~2) | {limits.PARK}
WHERE id = ANY(%(ids)s::bigint[])
RETURNING id, hold, limit_key, queue_name, joined_at
"""  # noqa: S608 - a constant


def release(children: Collection[Task]) -> None:
    """Let locked pending tasks go on that need not wait for others any longer; it happens once in a task's life."""
    if not children:
        return
    rows = {row[0]: row for row in statements.run(_RELEASE, {"ids": [child.pk for child in children]})}
    for child in children:
        _, child.hold, _, _, child.joined_at = rows[child.pk]
        reason = "every task it waited for has completed" if child.join_quorum is None else "enough have completed"
        record(child, Act(verb="released", actor="queue", reason=reason), to_status=PENDING)
    if any(child.hold & Hold.LIMIT for child in children):
        admit()
    wakeups.wake_workers({child.queue_id for child in children if child.hold == 0})


def condemn(child: Task, parent: Task) -> None:
    """Fail a locked pending task that can never run, because its parent failed for good."""
    told = parent.error or ""
    how = f"is archived as {parent.status}" if archive.is_archived(parent) else "failed as invalid"
    reason = told if parent.unrunnable_because else f"{parent} {how}: {told}"
    move(
        child,
        FAILED,
        Act(verb="unrunnable", actor="queue", reason=reason[:1000]),
        error=reason,
        failure_class=FailureClass.INVALID,
        unrunnable_because=parent.unrunnable_because or parent.task_id,
    )
