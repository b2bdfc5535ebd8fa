"""End the tasks of a game whose workers are gone: nobody is left to confirm that they have stopped."""

from __future__ import annotations

from tasks_app.errors import InvalidTransition
from tasks_app.models import Task, TaskStatus
from tasks_app.operations.tasks import cancel, requeue
from workers.gameday.scenario_run import ACTOR

REASON = "the game is over"
OPEN = (TaskStatus.PENDING, TaskStatus.CLAIMED)


def end(queue_name: str) -> int:
    """Cancel whatever a game has left open on its queue; return how much that was. To be called when its workers are
    dead."""
    left = list(Task.objects.filter(queue_id=queue_name, created_by=ACTOR, status__in=OPEN))
    for task in left:
        try:
            if cancel(task.task_id, actor=ACTOR, reason=REASON).status == TaskStatus.CLAIMED:
                requeue(task.task_id, actor=ACTOR, reason=REASON, force=True)
        except InvalidTransition:
            continue
    return len(left)
