"""Claims of chosen tasks. The queue itself only gives out what comes next."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F, Q

from tasks_app.engine.claim import Claim, claim_tasks
from tasks_app.engine.move import admit
from tasks_app.errors import NotClaimable
from tasks_app.models import Freeze, Hold, Task, TaskStatus, Worker


def claim_task(task: Task, worker: Worker) -> Claim:
    """Claim this one task, whatever stands before it in its queue. Raises NotClaimable."""
    worker.queues = [task.queue_id]
    claim = pick(worker, Q(pk=task.pk))
    if claim is None:
        task.refresh_from_db()
        raise NotClaimable(task.task_id, _why_not(task))
    return claim


@transaction.atomic
def pick(worker: Worker, wanted: Q | None = None) -> Claim | None:
    """Claim the next task, of those wanted if it is said which; return None when there is none to be had.

    The others are held back for the time of the transaction, so that nobody else notices.
    """
    aside: list[int] = []
    if wanted is not None:
        others = Task.objects.filter(queue_id__in=worker.queues, status=TaskStatus.PENDING, hold__in=(0, Hold.LIMIT))
        aside = list(others.exclude(wanted).select_for_update(skip_locked=True).values_list("pk", flat=True))
        Task.objects.filter(pk__in=aside).update(hold=F("hold").bitor(Hold.DEPENDENCY))
        admit()
    claims = claim_tasks(worker, limit=1)
    Task.objects.filter(pk__in=aside).update(hold=F("hold").bitand(~Hold.DEPENDENCY))
    return claims[0] if claims else None


def _why_not(task: Task) -> str:
    if task.status != TaskStatus.PENDING or task.hold & ~Hold.LIMIT:
        return f"it is {task.display_status}"
    if Freeze.objects.exists():
        return "everything is frozen"
    if task.queue.is_paused:
        return f"queue {task.queue_id} is paused"
    return "its limit is full" if task.hold else "another transaction holds its row"
