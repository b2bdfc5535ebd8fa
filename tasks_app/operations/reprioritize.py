"""Change tasks' places in the queue."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from tasks_app.engine import backoff
from tasks_app.engine.events import Change, Record, record_many
from tasks_app.engine.lookup import Refusals, do_to_one
from tasks_app.engine.move import set_ranks
from tasks_app.errors import InvalidTransition, ParamsInvalid
from tasks_app.models import Task
from tasks_app.priority import PRIORITY_LEAST, PRIORITY_MOST


@transaction.atomic
def reprioritize(task_id: UUID, priority: int, *, actor: str, reason: str = "") -> Task:
    """Give the task another priority; for a claimed one it counts from its next attempt.

    Raises TaskNotFound, ParamsInvalid, or InvalidTransition when the task has finished.
    """
    return do_to_one(task_id, lambda tasks: reprioritize_locked(tasks, priority, actor=actor, reason=reason))


def reprioritize_locked(tasks: Sequence[Task], priority: int, *, actor: str, reason: str) -> Refusals:
    """Give locked tasks another priority; return why not of those that have finished. Raises ParamsInvalid."""
    if not PRIORITY_LEAST <= priority <= PRIORITY_MOST:
        raise ParamsInvalid([{"path": "priority", "message": f"write {PRIORITY_LEAST} to {PRIORITY_MOST}"}])
    changed = [task for task in tasks if not task.is_finished]
    records = []
    for task in changed:
        act = Change(
            event_type="reprioritized", actor=actor, reason=reason, detail={"from": task.priority, "to": priority}
        )
        records.append(Record(task=task, act=act, to_status=task.status, update={"priority": priority}))
        task.priority, task.rank = priority, backoff.rank(priority, task.runnable_at)
    set_ranks(changed)
    record_many(records)
    return {
        task.task_id: InvalidTransition(task.task_id, task.status, "reprioritise") for task in tasks if task.is_finished
    }
