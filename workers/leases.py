"""The thread that keeps the worker alive in the database: leases, heartbeat, orders, requests to cancel.

It has a connection of its own, does nothing else, and waits in no statement for longer than a part of a lease, so that
neither a slow statement nor a file system nor a full pipe costs a claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import ProgrammingError, connection, transaction

from tasks_app.engine import worker_calls
from tasks_app.models import Task, WorkerOrder
from tasks_app.postgresql import outages
from workers import db_connection, identity
from workers.execution import Execution
from workers.outcome import CANCELLED, LOST
from workers.shared_state import SharedState
from workers.systemd import Notifier
from workers.timer import Timer
from workers.worker_thread import WorkerThread

WATCH_SEC = 1.0
STATEMENT_MOST_SEC = 5.0
STATEMENT_LEAST_SEC = 0.25
LEAVE_TRIES = 5
LEAVE_AGAIN_SEC = 0.2
REGISTER_AGAIN_SEC = 0.5
REFUSALS_MOST = 10
"""So often the database may refuse to register the worker before that is a matter of versions."""
_LIMIT = "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)"


class Leases(WorkerThread):
    """Renews what the worker has claimed, reports for it, and takes in what operators want of it."""

    def __init__(self, state: SharedState, notifier: Notifier, *, on_change: Callable[[], None]) -> None:
        super().__init__("leases")
        self._state = state
        self._notifier = notifier
        self._on_change = on_change
        self._link = db_connection.Link("renewing leases")
        self._heartbeats = Timer(identity.HEARTBEAT_SEC)
        self._renewals = Timer(settings.ABSURD_LEASE_SEC / 3)
        self._watch = Timer(WATCH_SEC)
        self._refusals = 0
        self.refused: ProgrammingError | None = None
        """Why the worker could not even be registered: the database does not fit this version."""
        self.expect_lease(settings.ABSURD_LEASE_SEC)

    def expect_lease(self, lease_sec: float) -> None:
        """Renew often enough for a lease of this length."""
        self._renewals.at_most(lease_sec / 3)
        self._link.longest_delay_sec = min(db_connection.LONGEST_DELAY_SEC, self._renewals.interval_sec / 2)

    def report_soon(self) -> None:
        """Have the worker's row tell of a change at once."""
        self._heartbeats.hurry()
        self.wake()

    def wait_sec(self) -> float:
        if not self._link.up:
            return self._link.wait_sec
        return min(self._heartbeats.wait_sec, self._renewals.wait_sec, self._watch.wait_sec)

    def turn(self) -> None:
        if self._link.worth_trying:
            with self._link.guarded():
                self._talk()

    def finish(self) -> None:
        for _ in range(LEAVE_TRIES):
            try:
                with _limited(self._limit_sec):
                    self._state.presence.leave()
                return
            except Exception as error:
                self.faults.note("reporting that the worker has stopped", error)
                connection.close()
                time.sleep(LEAVE_AGAIN_SEC)

    @property
    def _limit_sec(self) -> float:
        return min(STATEMENT_MOST_SEC, max(STATEMENT_LEAST_SEC, self._renewals.interval_sec / 3))

    def _talk(self) -> None:
        """Do all that is due, leases first; what one statement waits for in vain must not keep the others back."""
        back = not self._link.up
        steps: list[tuple[bool, str, Callable[[], None]]] = [
            (self._renewals.due() or back, "renewing leases", self._renew),
            (self._heartbeats.due() or back, "reporting the heartbeat", self._beat),
            (self._watch.due() or back, "reading orders", self._look),
        ]
        outage: Exception | None = None
        for due, name, work in steps:
            try:
                if due:
                    with _limited(self._limit_sec):
                        work()
            except Exception as error:
                if outages.is_disconnect(error) or outages.refuses_writes(error):
                    raise
                if outages.is_outage(error) and work == self._renew:
                    outage = error
                else:
                    self._note_fault(name, error)
        if outage is not None:
            raise outage

    def _note_fault(self, name: str, error: Exception) -> None:
        if not self._state.presence.registered:
            self._heartbeats.due_in(REGISTER_AGAIN_SEC)
            self._refusals += isinstance(error, ProgrammingError)
            if isinstance(error, ProgrammingError) and self._refusals >= REFUSALS_MOST:
                self.refused = error
                self._on_change()
        self.faults.note(name, error)
        connection.close_if_unusable_or_obsolete()

    def _renew(self) -> None:
        attempts = self._state.undelivered
        by_token = {execution.claim.claim_token: execution for execution in attempts}
        renewal = worker_calls.renew(
            [execution.claim for execution in attempts],
            is_held=lambda claim: by_token[claim.claim_token].outcome is None,
        )
        for execution in attempts:
            if execution.claim.task_id in renewal.lost and execution.running:
                execution.kill(LOST)
            elif execution.claim.task_id in renewal.cancel_requested:
                _cancel(execution)

    def _beat(self) -> None:
        """Report, and see whether it is time to start anew."""
        state, presence = self._state, self._state.presence
        state.recycling.check(presence.rss_bytes)
        was_registered = presence.registered
        presence.beat(ending=state.ending, missing_roots=state.roots.missing, stop_signalled=state.orders.drain)
        self._obey()
        self._notifier.ready()
        if not was_registered:
            self._on_change()

    def _look(self) -> None:
        """Read orders and requests to cancel, more often than leases need it: they take effect within a second."""
        self._state.presence.look()
        self._obey()
        by_token = {execution.claim.claim_token: execution for execution in self._state.running}
        if by_token:
            asked = Task.objects.filter(claim_token__in=list(by_token), cancel_requested_at__isnull=False)
            for token in asked.values_list("claim_token", flat=True):
                _cancel(by_token[token])

    def _obey(self) -> None:
        """Do what an operator ordered; pausing and draining are looked up where they matter."""
        state = self._state
        ordered = state.presence.ordered
        if ordered == WorkerOrder.RECYCLE and not state.recycling.because:
            state.recycling.order()
            self._heartbeats.hurry()
            self._on_change()
        busy = f"{len(state.undelivered)} of {state.options.concurrency} slots busy"
        self._notifier.status(f"{ordered or ('ending' if state.ending else 'working')}: {busy}")


def _cancel(execution: Execution) -> None:
    execution.stop(CANCELLED, grace_sec=settings.ABSURD_STOP_GRACE_SEC)


@contextmanager
def _limited(limit_sec: float) -> Iterator[None]:
    """Run a block in a transaction whose statements neither run nor wait for a lock longer than the limit."""
    limit = f"{round(limit_sec * 1000)}ms"
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_LIMIT, [limit, limit])
        yield
