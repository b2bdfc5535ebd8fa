"""Is the queue well, and if not, what is to be done?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from django.conf import settings
from django.db import DatabaseError

from tasks_app import stats
from tasks_app.models import Queue, Task

Status = Literal["healthy", "degraded", "unhealthy", "disabled"]

DEPTH_DEGRADED = 500
OLDEST_PENDING_DEGRADED_SEC = 600.0
OLDEST_PENDING_UNHEALTHY_SEC = 3600.0


@dataclass(frozen=True, kw_only=True)
class Health:
    """The state of one queue, with the reasons for anything but healthy."""

    status: Status
    message: str
    queue: str
    reasons: tuple[str, ...] = ()


def check(queue: str | None = None) -> Health:
    """Look at the database, the workers and the queue itself."""
    name = queue or settings.ABSURD_QUEUE_NAME
    if not settings.ABSURD_ENABLED:
        return Health(status="disabled", message="Absurd is disabled: set ABSURD_ENABLED=true and restart", queue=name)
    try:
        unhealthy, degraded = _faults(name)
    except DatabaseError:
        return Health(status="unhealthy", message="Database unavailable: start PostgreSQL or mend its URL", queue=name)
    reasons = (*unhealthy, *degraded)
    if not reasons:
        return Health(status="healthy", message="Absurd is operational", queue=name)
    return Health(
        status="unhealthy" if unhealthy else "degraded", message="; ".join(reasons), queue=name, reasons=reasons
    )


def _faults(name: str) -> tuple[list[str], list[str]]:
    unhealthy: list[str] = []
    degraded: list[str] = []
    counts = stats.queue_stats([name])[0]
    depth = counts["pending"] + counts["claimed"]
    if not stats.live_workers(name):
        fault = f"No active workers: start one with manage.py runworker --queue-name {name}"
        (unhealthy if depth else degraded).append(fault)
    if depth > DEPTH_DEGRADED:
        degraded.append(f"Queue depth is {depth}, more than {DEPTH_DEGRADED}: add workers")
    paused = Queue.objects.filter(name=name, paused_at__isnull=False).first()
    if paused:
        degraded.append(f"Queue paused by {paused.paused_by}: {paused.pause_reason or 'no reason given'}")
    oldest_sec = stats.oldest_pending_sec(name)
    if oldest_sec is not None and oldest_sec > OLDEST_PENDING_DEGRADED_SEC:
        grave = oldest_sec > OLDEST_PENDING_UNHEALTHY_SEC
        (unhealthy if grave else degraded).append(f"Oldest pending task has waited {oldest_sec / 60:.0f} min")
    stalled = Task.objects.expired_leases().in_queue(name).count()
    if stalled:
        degraded.append(f"{stalled} claims have outlived their lease; they go back to the queue by themselves")
    return unhealthy, degraded
