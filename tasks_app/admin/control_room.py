"""The first page: health, queues, running tasks, failures, workers."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Left

from tasks_app.admin.display import ERROR_CHARS
from tasks_app.models import Queue, Task, TaskStatus
from tasks_app.monitoring import health
from tasks_app.monitoring.queues import oldest_pending, queue_stats
from tasks_app.monitoring.workers import recent_workers
from tasks_app.operations.system import FINDINGS

SHOWN = 10
RUNNING_SHOWN = 50


def snapshot(*, may_acknowledge: bool) -> dict[str, Any]:
    """Return all that the page shows."""
    queues = {queue.name: queue for queue in Queue.objects.all()}
    names = {settings.ABSURD_QUEUE_NAME, *queues}
    counts, oldest_sec = queue_stats(names), oldest_pending(names)
    light = Task.objects.defer("result", "params", "error", "bindings").select_related("worker")
    workers, found = recent_workers(), health.check()
    faults = [check.name.replace(" ", "-") for check in found.checks if check.state != "ok"]
    return {
        "health": found,
        "acknowledgeable": [name for name in faults if may_acknowledge and name in FINDINGS],
        "queues": [
            {**count, "queue": queues.get(name), "oldest_sec": oldest_sec.get(name)}
            for name, count in ((count["queue_name"], count) for count in counts)
        ],
        "running": light.filter(status=TaskStatus.CLAIMED).order_by("id")[:RUNNING_SHOWN],
        "failures": light.filter(status=TaskStatus.FAILED)
        .annotate(error_head=Left("error", ERROR_CHARS + 40))
        .order_by("-id")[:SHOWN],
        "stalled": light.filter(Q(status=TaskStatus.CLAIMED) & Q(pk__in=Task.objects.expired_leases().values("pk"))),
        "workers": [report for report in workers if report.state != "stopped"],
        "stopped_workers": sum(report.state == "stopped" for report in workers),
    }
