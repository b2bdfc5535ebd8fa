"""All sweeps together, for whichever process runs them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.db import Error, connection

from tasks_app.engine import limits
from tasks_app.engine.move import admit
from tasks_app.maintenance import archiving, due_work, purging, schedules, sweeps
from tasks_app.monitoring import queues
from tasks_app.postgresql.availability import Watch

Sweep = Callable[[], object]

logger = logging.getLogger(__name__)


class Sweeper:
    """Runs every sweep that is due when called, and watches over whether the database answers without a break."""

    def __init__(self) -> None:
        self._watch: Watch | None = None
        self._net = sweeps.SafetyNet()
        self._seldom: list[tuple[float, Sweep]] = [
            (5.0, self._net.look),
            (5.0, admit),
            (60.0, archiving.RetentionSweep().sweep),
            (600.0, limits.unpark_strays),
            (600.0, limits.remove_unused),
            (3600.0, purging.sweep_workers),
        ]
        self._next = [0.0 for _ in self._seldom]

    def sweep(self) -> int:
        """Run the sweeps; return how many tasks changed. A database error ends the round and is raised."""
        try:
            first = self._watch is None
            if self._watch is None:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                self._watch = Watch()
            self._do_seldom()
            due = due_work.look()
            if due.read_only:
                # Nobody can renew a lease now, so none is believed expired until a whole one has passed.
                self._watch = None
                return 0
            if first:
                logger.info("sweeps have begun: tasks of dead workers are returned once their whole lease was watched")
            self._watch.note(due.seen_at)
            return self._do_due(due, self._watch)
        except Error:
            self._watch = None
            raise

    def _do_due(self, due: due_work.Due, watch: Watch) -> int:
        """Run the sweeps that have something to do."""
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

    def _do_seldom(self) -> None:
        """Run what need not be done each time; what is cheap to ask comes more often."""
        for number, (interval_sec, work) in enumerate(self._seldom):
            if time.monotonic() >= self._next[number]:
                self._next[number] = time.monotonic() + interval_sec
                work()
