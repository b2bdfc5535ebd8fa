"""Cancel tasks: pending ones at once, claimed ones as soon as their workers have stopped them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from tasks_app.engine.events import Change, Record, record_many
from tasks_app.engine.lookup import Refusals, do_to_one
from tasks_app.engine.move import Move, move_many
from tasks_app.errors import InvalidTransition
from tasks_app.models import Task, TaskStatus
from tasks_app.postgresql import clock


@transaction.atomic
def cancel(task_id: UUID, *, actor: str, reason: str = "") -> Task:
    """Cancel the task, or ask its worker to stop it; asking twice changes nothing.

    Raises TaskNotFound, or InvalidTransition when the task has already finished.
    """
    return do_to_one(task_id, lambda tasks: cancel_locked(tasks, actor=actor, reason=reason))


def cancel_locked(tasks: Sequence[Task], *, actor: str, reason: str) -> Refusals:
    """Cancel locked tasks, or ask their workers to stop them; return why not of those that have finished."""
    pending = [task for task in tasks if task.status == TaskStatus.PENDING]
    claimed = [task for task in tasks if task.status == TaskStatus.CLAIMED]
    finished = [task for task in tasks if task.is_finished]
    act = Change(event_type="cancelled", actor=actor, reason=reason)
    move_many([Move(task=task, to=TaskStatus.CANCELLED, act=act, fields={"hold": 0}) for task in pending])
    _ask([task for task in claimed if task.cancel_requested_at is None], actor, reason)
    return {task.task_id: InvalidTransition(task.task_id, task.status, "cancel") for task in finished}


def _ask(tasks: Sequence[Task], actor: str, reason: str) -> None:
    """Have the tasks' workers hear that they should stop them."""
    if not tasks:
        return
    moment = clock.now()
    columns = {"cancel_requested_at": moment, "cancel_requested_by": actor, "cancel_reason": reason}
    Task.objects.filter(pk__in=[task.pk for task in tasks]).update(**columns)
    for task in tasks:
        for name, value in columns.items():
            setattr(task, name, value)
    act = Change(event_type="cancel_requested", actor=actor, reason=reason)
    told = {"cancel_requested_at": clock.stamp(moment)}
    record_many([Record(task=task, act=act, to_status=TaskStatus.CLAIMED, update=told) for task in tasks])
