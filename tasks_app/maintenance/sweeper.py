"""All sweeps together, for every process that runs them: one query finds those that have work to do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime

from django.db import Error, connection

from tasks_app.engine import limits
from tasks_app.engine.move import admit
from tasks_app.maintenance import archiving, retention, schedules, sweeps
from tasks_app.models.querysets import FUTURES
from tasks_app.monitoring import queues
from tasks_app.postgresql import statements
from tasks_app.postgresql.availability import Watch

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
        self._waiting = sweeps.WaitingSweep()
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
            changed += sweeps.release_due()
        if due.joins:
            changed += sweeps.fire_joins()
        if due.schedules:
            changed += schedules.fire_due()
        if due.overdue:
            changed += sweeps.fail_overdue()
        if due.past_deadline:
            changed += sweeps.fail_past_deadline()
        if due.leases:
            changed += sweeps.return_lost(watch.watched_sec, doubted_sec=watch.doubted_sec, seen_at=watch.seen_at)
        return changed

    def _run_periodic(self) -> None:
        """Run the sweeps that have an interval of their own."""
        for number, (interval_sec, work) in enumerate(self._periodic):
            if time.monotonic() >= self._next[number]:
                self._next[number] = time.monotonic() + interval_sec
                work()
