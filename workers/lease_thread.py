"""The thread that keeps the worker's claims: leases, heartbeat, requests of operators to the worker or to cancel.

It has a connection of its own, does nothing else, and waits in no statement for longer than a part of a lease, so that
neither a slow statement nor a file system nor a full pipe costs a claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import ProgrammingError, connection, transaction

from tasks_app.engine.lease import renew_leases
from tasks_app.models import Task, WorkerOrder
from tasks_app.postgresql import outages
from workers import db_connection
from workers.process.outcome import CANCELLED, LOST
from workers.shared_state import SharedState
from workers.worker_thread import Timer, WorkerThread

REQUESTS_SEC = 1.0
STATEMENT_MOST_SEC = 5.0
STATEMENT_LEAST_SEC = 0.25
STOP_TRIES = 5
STOP_AGAIN_SEC = 0.2
REGISTER_AGAIN_SEC = 0.5
REFUSALS_MOST = 10
"""After this many refusals to register the worker, the database does not fit this version."""
_LIMIT = "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)"


class LeaseThread(WorkerThread):
    """Renews the leases of what the worker has claimed, sends its heartbeats, and reads the requests of operators."""

    def __init__(self, state: SharedState) -> None:
        super().__init__("leases", state.leases)
        self._state = state
        self._link = db_connection.Link("renewing leases")
        self._requests = Timer(REQUESTS_SEC)
        self._refusals = 0
        self.refused: ProgrammingError | None = None
        """Why the worker could not even be registered: the database does not fit this version."""

    def wait_sec(self) -> float:
        if not self._link.up:
            return self._link.wait_sec
        return min(timer.wait_sec for timer in (self._state.heartbeats, self._state.renewals, self._requests))

    def turn(self) -> None:
        self._link.longest_delay_sec = min(db_connection.LONGEST_DELAY_SEC, self._state.renewals.interval_sec / 2)
        if self._link.worth_trying:
            with self._link.guarded():
                self._work()

    def finish(self) -> None:
        for _ in range(STOP_TRIES):
            try:
                with self._limited():
                    self._state.registration.stop()
                return
            except Exception as error:
                self.faults.record("reporting that the worker has stopped", error)
                connection.close()
                time.sleep(STOP_AGAIN_SEC)

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Run a block in a transaction whose statements neither run nor wait for a lock longer than part of a lease."""
        limit_sec = min(STATEMENT_MOST_SEC, max(STATEMENT_LEAST_SEC, self._state.renewals.interval_sec / 3))
        limit = f"{round(limit_sec * 1000)}ms"
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(_LIMIT, [limit, limit])
            yield

    def _work(self) -> None:
        """Do all that is due, leases first; one blocked statement must not delay the others."""
        back = not self._link.up
        outage: Exception | None = None
        steps: list[tuple[Timer, str, Callable[[], None]]] = [
            (self._state.renewals, "renewing leases", self._renew),
            (self._state.heartbeats, "sending the heartbeat", self._heartbeat),
            (self._requests, "reading requests", self._read_requests),
        ]
        for timer, name, work in steps:
            if not timer.due() and not back:
                continue
            try:
                with self._limited():
                    work()
            except Exception as error:
                if outages.is_disconnect(error) or outages.refuses_writes(error):
                    raise
                if outages.is_outage(error) and work == self._renew:
                    outage = error
                else:
                    self._record_fault(name, error)
        if outage is not None:
            raise outage

    def _record_fault(self, name: str, error: Exception) -> None:
        if not self._state.registration.registered:
            self._state.heartbeats.hurry(REGISTER_AGAIN_SEC)
            self._refusals += isinstance(error, ProgrammingError)
            if isinstance(error, ProgrammingError) and self._refusals >= REFUSALS_MOST:
                self.refused = error
                self._state.changed()
        self.faults.record(name, error)
        connection.close_if_unusable_or_obsolete()

    def _renew(self) -> None:
        attempts = self._state.undelivered
        by_token = {execution.claim.claim_token: execution for execution in attempts}
        renewal = renew_leases(
            [execution.claim for execution in attempts],
            is_held=lambda claim: by_token[claim.claim_token].outcome is None,
        )
        for execution in attempts:
            if execution.claim.task_id in renewal.lost and execution.running:
                execution.kill(LOST)
            elif execution.claim.task_id in renewal.cancel_requested:
                execution.stop(CANCELLED)

    def _heartbeat(self) -> None:
        """Report, and see whether the worker is to be recycled."""
        state = self._state
        state.check_age()
        state.registration.heartbeat(
            ending=state.ending, missing_roots=state.roots.missing, stop_signalled=state.signals.drain
        )
        self._follow_order()
        transaction.on_commit(self._confirm)

    def _confirm(self) -> None:
        """Let the worker claim, once its row is committed."""
        self._state.notifier.ready()
        if not self._state.registration.registered:
            self._state.registration.registered = True
            self._state.changed()

    def _read_requests(self) -> None:
        """Read what operators requested, more often than leases need it: it takes effect within a second."""
        self._state.registration.read_order()
        self._follow_order()
        by_token = {execution.claim.claim_token: execution for execution in self._state.running}
        if by_token:
            cancelled = Task.objects.filter(claim_token__in=list(by_token), cancel_requested_at__isnull=False)
            for token in cancelled.values_list("claim_token", flat=True):
                by_token[token].stop(CANCELLED)

    def _follow_order(self) -> None:
        """Recycle when an operator requested it; pausing and draining take effect where tasks are claimed."""
        state = self._state
        ordered = state.registration.ordered
        if ordered == WorkerOrder.RECYCLE and not state.recycle_reason:
            state.recycle("an operator requested it")
            state.heartbeats.hurry()
            state.changed()
        busy = f"{len(state.undelivered)} of {state.options.concurrency} slots busy"
        state.notifier.status(f"{ordered or ('ending' if state.ending else 'working')}: {busy}")
