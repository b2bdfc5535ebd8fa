"""Where a game must not be played."""

from __future__ import annotations

from django.conf import settings

from tasks_app.models import Freeze, Queue, Task
from tasks_app.monitoring.workers import recent_workers
from workers.gameday import cleanup
from workers.gameday.scenario_run import Terms

UP = ("active", "idle")


def refusal(terms: Terms) -> str:
    """Return why no game may be played on this queue, or nothing; what a killed game has left there is ended first."""
    name = terms.queue_name
    if name == settings.ABSURD_QUEUE_NAME:
        return f"{name!r} is the main queue; a game needs a queue of its own: --queue-name gameday"
    up = [report.worker for report in recent_workers() if report.state in UP]
    serving = [worker.label for worker in up if name in worker.queues]
    if serving:
        return f"worker {serving[0]} serves queue {name!r}: a drill needs a queue that no other worker serves"
    cleanup.end(name)
    open_tasks = Task.objects.filter(queue_id=name, status__in=cleanup.OPEN).count()
    if open_tasks:
        return f"queue {name!r} has {open_tasks} open tasks of others: cancel them or name another queue"
    if Queue.objects.filter(name=name).exclude(paused_at=None).exists():
        return f"queue {name!r} is paused: resume it first"
    if Freeze.objects.exists():
        return "everything is frozen and nothing would be claimed: absurd_thaw first"
    return ""
