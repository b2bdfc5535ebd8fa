"""What a worker that has just started can expect to run, from what its queues ran last: so that no restart is cold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from tasks_app.engine import registry
from tasks_app.models import Task, TaskStatus
from tasks_app.postgresql.clock import DatabaseNow
from workers.process.prewarmed import IDLE_SEC, Kind

LOOKED_AT_MOST = 1000


def kind_used_last(queue_names: Sequence[str]) -> Kind | None:
    """Return the kind of spare that fits what these queues run, else ended while a spare may idle, else hold.

    None where nothing of the kind is found among the newest of each.
    """
    own = Task.objects.filter(queue_id__in=queue_names)
    ended_since = DatabaseNow() - timedelta(seconds=IDLE_SEC)
    newest = (
        own.filter(status=TaskStatus.CLAIMED).order_by("-id"),
        Task.objects.filter(completed_at__gt=ended_since).order_by("-completed_at", "-id"),
        own.filter(status=TaskStatus.PENDING).order_by("-id"),
    )
    for tasks in newest:
        for queue, task_name, cores in tasks.values_list("queue_id", "task_name", "cores")[:LOOKED_AT_MOST]:
            spec = registry.find(task_name)
            if queue in queue_names and spec is not None and spec.warm is not None:
                return Kind(module=spec.warm, cores=cores)
    return None
