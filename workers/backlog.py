"""Whether there is anything left that a worker could still come to run."""

from __future__ import annotations

from collections.abc import Sequence

from tasks_app.engine import registry
from tasks_app.models import Hold, Task, TaskStatus


def is_exhausted(queue_names: Sequence[str], host_id: str) -> bool:
    """Return whether nothing of these queues is claimed, claimable, or waiting for its next try.

    What waits for a dependency, for its scheduled time or for a paused queue does not count: it may wait for ever. Nor
    does a task whose name this process does not know, or for which this host lacked something.
    """
    tasks = Task.objects.filter(queue_id__in=queue_names, task_name__in=registry.names())
    if tasks.filter(status=TaskStatus.CLAIMED).exists():
        return False
    pending = tasks.filter(status=TaskStatus.PENDING, queue__paused_at=None).exclude(unavailable_on__has_key=host_id)
    return not pending.filter(hold=0).exists() and not pending.filter(hold=Hold.FUTURE, retry_count__gt=0).exists()
