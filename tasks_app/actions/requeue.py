"""Give a stalled claim back to the queue without waiting for a sweep."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction

from tasks_app import clock
from tasks_app.actions.lookup import locked
from tasks_app.errors import InvalidTransition
from tasks_app.models import Task, TaskStatus
from tasks_app.models.task import FailureClass
from tasks_app.settling import AttemptReport, settle_failure
from tasks_app.worker_states import state_of

GONE = ("lost", "stopped")
"""States of a worker from which nothing is to be expected, however long its lease."""


def claim_holds(task: Task, moment: datetime) -> bool:
    """Whether a claimed task's lease has not run out and its worker may be at work."""
    gone = task.worker is not None and state_of(task.worker, moment, busy=True) in GONE
    return task.lease_until is not None and task.lease_until > moment and not gone


@transaction.atomic
def requeue(task_id: UUID, *, actor: str, reason: str = "", force: bool = False) -> Task:
    """End a claim whose lease has run out, or whose worker is gone, as lost; policy decides whether it is tried again.

    With `force` a claim goes whose lease still holds: its worker may be at work, and will find its outcome refused.
    Raises TaskNotFound, or InvalidTransition when the task is not claimed or its lease holds.
    """
    task = locked(task_id)
    if task.status != TaskStatus.CLAIMED:
        raise InvalidTransition(task.task_id, task.status, "requeue")
    holds = claim_holds(task, clock.now())
    if task.lease_until is not None and holds and not force:
        hint = f"its lease holds until {clock.stamp(task.lease_until)}; wait, cancel it, or force"
        raise InvalidTransition(task.task_id, task.status, "requeue", hint)
    message = f"requeued by {actor}{' although its lease held' if holds else ''}: {reason or 'no reason given'}"
    settle_failure(task, FailureClass.LOST, message, actor=actor, report=AttemptReport())
    return task
