"""Give stalled claims back to the queue without waiting for a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction

from tasks_app.engine.fail import Failure, settle_failures
from tasks_app.engine.lookup import Refusals, do_to_one
from tasks_app.errors import InvalidTransition
from tasks_app.models import Task, TaskStatus
from tasks_app.models.task import FailureClass
from tasks_app.monitoring.workers import state_of
from tasks_app.postgresql import clock

GONE = ("lost", "stopped")
"""States of a worker from which nothing is to be expected, however long its lease."""


def claim_holds(task: Task, moment: datetime) -> bool:
    """Whether a claimed task's lease has not run out and its worker may be at work."""
    gone = task.worker is not None and state_of(task.worker, moment, busy=True) in GONE
    return task.lease_until is not None and task.lease_until > moment and not gone


@transaction.atomic
def requeue(task_id: UUID, *, actor: str, reason: str = "", force: bool = False) -> Task:
    """End a claim whose lease has run out, or whose worker is gone, as lost; policy decides whether it is retried.

    With `force` a claim goes whose lease still holds: its worker may be at work, and will find its outcome refused.
    Raises TaskNotFound, or InvalidTransition when the task is not claimed or its lease holds.
    """
    return do_to_one(task_id, lambda tasks: requeue_locked(tasks, actor=actor, reason=reason, force=force))


def requeue_locked(tasks: Sequence[Task], *, actor: str, reason: str, force: bool = False) -> Refusals:
    """End the claims of locked tasks as lost; return why not of those that are not claimed or whose lease holds."""
    refused: dict[UUID, InvalidTransition] = {}
    lost = []
    moment = clock.now()
    for task in tasks:
        holds = task.status == TaskStatus.CLAIMED and claim_holds(task, moment)
        if task.status != TaskStatus.CLAIMED:
            refused[task.task_id] = InvalidTransition(task.task_id, task.status, "requeue")
        elif task.lease_until is not None and holds and not force:
            hint = f"its lease is valid until {clock.stamp(task.lease_until)}; wait, cancel it, or force"
            refused[task.task_id] = InvalidTransition(task.task_id, task.status, "requeue", hint)
        else:
            although = " although its lease was valid" if holds else ""
            message = f"requeued by {actor}{although}: {reason or 'no reason given'}"
            lost.append(Failure(task=task, failure_class=FailureClass.LOST, message=message))
    settle_failures(lost, actor=actor)
    return refused
