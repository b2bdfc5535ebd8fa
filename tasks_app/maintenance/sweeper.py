"""The sweeps that bring back, release or end tasks, and all of them together: one query finds those with work to do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime

from django.db import Error, connection, transaction

from tasks_app.engine import dependencies, limits, notify
from tasks_app.engine.events import Change
from tasks_app.engine.fail import AttemptReport, settle_failure
from tasks_app.engine.move import admit, move, settle
from tasks_app.maintenance import archiving, retention, schedules
from tasks_app.models import Hold, Task, TaskStatus
from tasks_app.models.querysets import FUTURES
from tasks_app.models.task import FailureClass
from tasks_app.monitoring import queues
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


class Watch:
    """Looks at the database every now and then; a server that hung between two looks has kept everybody from renewing.

    Workers renew a lease in each third of it, so a hang of more than half a lease may have cost it. Such a lease is not
    believed expired before its worker, too, has had a whole lease to say that it is alive.
    """

    def __init__(self) -> None:
        self._since = self._looked = time.monotonic()
        self._gaps: list[tuple[float, float]] = []
        self.seen_at: datetime | None = None

    def note(self, seen_at: datetime) -> None:
        """Note that the database has just answered, at this moment of its clock; how long ago it last did is kept."""
        self.seen_at = seen_at
        now = time.monotonic()
        self._gaps = [(ended, gap) for ended, gap in self._gaps if now - ended < 2 * gap]
        self._gaps.append((now, now - self._looked))
        self._looked = now

    @property
    def watched_sec(self) -> float:
        """Since when the database has answered; leases that are longer are not believed expired."""
        return self._looked - self._since

    @property
    def doubted_sec(self) -> float:
        """Leases that are shorter than this are not believed expired, because the database may have hung."""
        return 2 * max((gap for _, gap in self._gaps), default=0.0)


# Each reads the first row of its partial index. With EXISTS the planner may scan the table instead, expecting to find
# one of many rows soon.
_DUE = f"""
SELECT
    (SELECT runnable_at FROM tasks_app_task WHERE status = 'pending' AND hold IN {FUTURES}
        ORDER BY runnable_at LIMIT 1) <= moment,
    (SELECT join_deadline_at FROM tasks_app_task WHERE status = 'pending' AND join_deadline_at IS NOT NULL
        ORDER BY join_deadline_at LIMIT 1) <= moment,
    EXISTS (SELECT FROM tasks_app_schedule WHERE enabled AND next_run_at <= moment),
    (SELECT expires_at FROM tasks_app_task
        WHERE status = 'pending' AND expires_at IS NOT NULL ORDER BY expires_at LIMIT 1) <= moment,
    (SELECT deadline_at FROM tasks_app_task
        WHERE status = 'pending' AND deadline_at IS NOT NULL ORDER BY deadline_at LIMIT 1) <= moment,
    (SELECT lease_until FROM tasks_app_task WHERE status = 'claimed' ORDER BY lease_until LIMIT 1) < moment,
    (SELECT true FROM tasks_app_task WHERE status = 'pending' AND hold = 4
        ORDER BY queue_name, rank, id LIMIT 1),
    (SELECT true FROM tasks_app_countdelta ORDER BY id LIMIT 1),
    current_setting('transaction_read_only')::boolean,
    clock_timestamp()
FROM (SELECT absurd_now() AS moment) AS present
"""  # noqa: S608 - a constant


@dataclass(frozen=True)
class Due:
    """Whether a sweep has work to do."""

    futures: bool
    joins: bool
    schedules: bool
    overdue: bool
    past_deadline: bool
    leases: bool
    parked: bool
    counts: bool
    read_only: bool
    """The database refuses writes."""
    seen_at: datetime
    """When the database answered, by its clock."""


def find_due() -> Due:
    """Return which sweeps have work to do, by one statement over partial indexes."""
    *found, seen_at = statements.run(_DUE, {})[0]
    names = (each.name for each in fields(Due))
    return Due(seen_at=seen_at, **dict(zip(names, map(bool, found), strict=False)))


Sweep = Callable[[], object]

logger = logging.getLogger(__name__)


class Sweeper:
    """Runs every sweep that is due when called, and tracks for how long the database has answered without a break."""

    def __init__(self) -> None:
        self._watch: Watch | None = None
        self._waiting = WaitingSweep()
        self._periodic: list[tuple[float, Sweep]] = [
            (5.0, self._waiting.sweep),
            (5.0, admit),
            (60.0, archiving.RetentionSweep().sweep),
            (600.0, limits.unpark_strays),
            (600.0, limits.remove_unused),
            (3600.0, retention.sweep_workers),
        ]
        self._next = [0.0 for _ in self._periodic]

    def sweep(self) -> int:
        """Run the sweeps; return how many tasks changed. A database error ends the round and is raised."""
        try:
            first = self._watch is None
            if self._watch is None:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                self._watch = Watch()
            self._run_periodic()
            due = find_due()
            if due.read_only:
                # No worker can renew a lease now, so none counts as expired until a full lease has passed after this.
                self._watch = None
                return 0
            if first:
                logger.info(
                    "sweeps have started: tasks of lost workers are returned after their full lease was watched"
                )
            self._watch.note(due.seen_at)
            return self._run_due(due, self._watch)
        except Error:
            self._watch = None
            raise

    def _run_due(self, due: Due, watch: Watch) -> int:
        """Run the sweeps that have work to do."""
        changed = 0
        if due.parked:
            admit()
        if due.counts:
            queues.fold_counts()
        if due.futures:
            changed += release_due()
        if due.joins:
            changed += fire_joins()
        if due.schedules:
            changed += schedules.fire_due()
        if due.overdue:
            changed += fail_overdue()
        if due.past_deadline:
            changed += fail_past_deadline()
        if due.leases:
            changed += return_lost(watch.watched_sec, doubted_sec=watch.doubted_sec, seen_at=watch.seen_at)
        return changed

    def _run_periodic(self) -> None:
        """Run the sweeps that have an interval of their own."""
        for number, (interval_sec, work) in enumerate(self._periodic):
            if time.monotonic() >= self._next[number]:
                self._next[number] = time.monotonic() + interval_sec
                work()
