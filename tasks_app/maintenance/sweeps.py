"""Idempotent sweeps, safe to run in every process at once."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from tasks_app.engine import dependencies, limits, notify
from tasks_app.engine.events import Change
from tasks_app.engine.fail import AttemptReport, settle_failure
from tasks_app.engine.move import admit, move, settle
from tasks_app.models import Hold, Task, TaskStatus
from tasks_app.models.task import FailureClass
from tasks_app.postgresql import statements

BATCH = 200

_RELEASE_DUE = f"""
UPDATE tasks_app_task AS task SET hold = CASE WHEN hold = 1 THEN {limits.PARK} ELSE hold - 1 END
WHERE id = ANY(ARRAY(
    SELECT id FROM tasks_app_task
    WHERE status = 'pending' AND hold IN (1, 3, 5, 7) AND runnable_at <= absurd_now()
    ORDER BY runnable_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
))
RETURNING queue_name, hold
"""  # noqa: S608 - a constant


def release_due(limit: int = 5 * BATCH) -> int:
    """Make tasks claimable whose start time has come; return how many."""
    with transaction.atomic():
        rows = statements.run(_RELEASE_DUE, {"limit": limit})
        notify.wake_workers({queue for queue, hold in rows if hold == 0})
        if any(hold == Hold.LIMIT for _, hold in rows):
            admit()
    return len(rows)


def fire_joins(limit: int = BATCH) -> int:
    """Release tasks whose join deadline has passed with enough parents completed; return how many were looked at."""
    with transaction.atomic():
        waiting = dependencies.lock_overdue_joins(limit)
        settle(waiting)
        still = [task.pk for task in waiting if task.status == TaskStatus.PENDING and task.joined_at is None]
        # From now on each completed dependency decides; the deadline has no further effect.
        Task.objects.filter(pk__in=still).update(join_deadline_at=None)
    return len(waiting)


def fail_overdue(limit: int = BATCH) -> int:
    """Fail pending tasks whose queue timeout passed before their first claim."""
    with transaction.atomic():
        overdue = Task.objects.overdue().order_by("id").select_for_update(skip_locked=True, of=("self",))
        tasks = list(overdue.select_related("run")[:limit])
        for task in tasks:
            act = Change(
                event_type="expired", actor="queue", reason=f"not claimed before {task.expires_at:%Y-%m-%d %H:%M:%SZ}"
            )
            move(task, TaskStatus.FAILED, act, error=act.reason, failure_class=FailureClass.TIMEOUT)
    return len(tasks)


def fail_past_deadline(limit: int = BATCH) -> int:
    """Fail pending tasks whose total timeout has passed."""
    with transaction.atomic():
        late = Task.objects.past_deadline().order_by("id").select_for_update(skip_locked=True, of=("self",))
        tasks = list(late.select_related("run")[:limit])
        for task in tasks:
            reason = f"its total timeout ended at {task.deadline_at:%Y-%m-%d %H:%M:%SZ}"
            act = Change(event_type="expired", actor="queue", reason=reason)
            error = f"{reason}; before that: {task.error}" if task.error else reason
            move(task, TaskStatus.FAILED, act, error=error, failure_class=FailureClass.TIMEOUT)
    return len(tasks)


def return_lost(
    watched_sec: float, *, doubted_sec: float = 0.0, seen_at: datetime | None = None, limit: int = BATCH
) -> int:
    """Return claimed tasks to the queue whose lease has run out.

    `watched_sec` is for how long the caller has seen the database available without a break. A lease is only believed
    expired after one full lease of that, and of the server being up: an outage must not cost running work. Nor must a
    server that hung: leases shorter than `doubted_sec` are left alone, and all when it has hung since `seen_at`.
    """
    with transaction.atomic():
        expired = Task.objects.expired_leases().filter(lease_sec__lt=watched_sec, lease_sec__gte=doubted_sec)
        lost = expired.order_by("id").extra(
            where=[
                "pg_postmaster_start_time() + lease_sec * interval '1 second' < clock_timestamp()",
                "clock_timestamp() <= coalesce(%s::timestamptz, clock_timestamp()) + lease_sec * interval '0.5 second'",
            ],
            params=[seen_at],
        )
        tasks = list(lost.select_for_update(skip_locked=True, of=("self",)).select_related("run", "worker")[:limit])
        for task in tasks:
            message = f"worker {task.worker} was lost: it did not renew its lease of {task.lease_sec} s"
            failure_class = FailureClass.LOST
            if task.worker is not None and task.worker.stop_signal_at is not None:
                failure_class = FailureClass.DRAINED
                message = f"worker {task.worker} was killed after a stop signal, before its attempts had ended"
            settle_failure(task, failure_class, message, actor="queue", report=AttemptReport())
    return len(tasks)


class WaitingSweep:
    """Settles tasks that wait for others, a page at a time, in case an event that should have done so was missed."""

    def __init__(self, page: int = 500) -> None:
        self._page = page
        self._after = 0

    def sweep(self) -> int:
        """Settle the next page of waiting tasks; return how many waited needlessly."""
        with transaction.atomic():
            waiting = dependencies.lock_waiting(after=self._after, limit=self._page)
            self._after = waiting[-1].pk if len(waiting) == self._page else 0
            return len(waiting) - settle(waiting)
