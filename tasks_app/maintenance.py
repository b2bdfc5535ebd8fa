"""Idempotent sweeps, safe to run in every process at once."""

from __future__ import annotations

import logging
import time

from django.db import DatabaseError, connection, transaction
from django.db.models import F

from tasks_app import dependencies, transitions
from tasks_app.claiming import AttemptReport, settle_failure
from tasks_app.models import Hold, Task, TaskStatus
from tasks_app.models.task import FailureClass
from tasks_app.transitions import Act, move

BATCH = 200

logger = logging.getLogger(__name__)


def release_due() -> int:
    """Make tasks claimable whose time has come; return how many."""
    with transaction.atomic():
        due = Task.objects.due().select_for_update(skip_locked=True)[:BATCH]
        return Task.objects.filter(pk__in=[task.pk for task in due]).update(hold=F("hold").bitand(~Hold.FUTURE))


def release_satisfied() -> int:
    """Release tasks whose dependencies have completed but whose hold stayed; a safety net."""
    with transaction.atomic():
        tasks = dependencies.satisfied_but_held()
        transitions.release(tasks)
    return len(tasks)


def fail_overdue() -> int:
    """Fail pending tasks that waited longer than they may."""
    with transaction.atomic():
        tasks = list(
            Task.objects.overdue().select_for_update(skip_locked=True, of=("self",)).select_related("run")[:BATCH]
        )
        for task in tasks:
            act = Act(verb="expired", actor="queue", reason=f"not claimed before {task.expires_at:%Y-%m-%d %H:%M:%SZ}")
            move(task, TaskStatus.FAILED, act, hold=0, error=act.reason, failure_class=FailureClass.TIMEOUT)
    return len(tasks)


def return_lost(watched_sec: float) -> int:
    """Return claimed tasks to the queue whose lease has run out.

    `watched_sec` is for how long the caller has seen the database available without a break. A lease is only believed
    expired after one full lease of that, and of the server being up: an outage must not cost running work.
    """
    with transaction.atomic():
        expired = Task.objects.expired_leases().filter(lease_sec__lt=watched_sec)
        lost = expired.extra(where=["pg_postmaster_start_time() + lease_sec * interval '1 second' < clock_timestamp()"])
        tasks = list(lost.select_for_update(skip_locked=True, of=("self",)).select_related("run", "worker")[:BATCH])
        for task in tasks:
            message = f"worker {task.worker} was lost: it did not renew its lease of {task.lease_sec} s"
            settle_failure(task, FailureClass.LOST, message, actor="queue", report=AttemptReport())
    return len(tasks)


class Sweeper:
    """Runs every sweep when called, and knows since when the database has answered without a break."""

    def __init__(self) -> None:
        self._available_since: float | None = None

    def sweep(self) -> int:
        """Run all sweeps once; return how many tasks changed. A database error ends the round and is raised."""
        try:
            if self._available_since is None:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                self._available_since = time.monotonic()
            watched_sec = time.monotonic() - self._available_since
            return release_due() + release_satisfied() + fail_overdue() + return_lost(watched_sec)
        except DatabaseError:
            self._available_since = None
            raise
