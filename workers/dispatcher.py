"""The thread that claims, starts and delivers: all that needs the database or the file system and may have to wait."""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable, Sequence

from django.conf import settings
from django.db import Error, connection

from tasks_app import cleaning
from tasks_app.engine import registry
from tasks_app.engine.claim import Claim
from tasks_app.engine.fail import AttemptReport, fail_attempt, return_unknown
from tasks_app.engine.lease import start_attempt
from tasks_app.errors import LostClaim, TaskNotFound, UnknownTaskName
from tasks_app.files import host_faults
from tasks_app.maintenance.sweeper import Sweeper
from tasks_app.postgresql import outages
from workers import cleanup, db_connection, outcome_writer
from workers.admission import Admission, is_exhausted
from workers.execution import Execution
from workers.process import prewarmed
from workers.process.outcome import DRAINED, LOST
from workers.process.supervisor import ProcessExecution
from workers.reporting import Reporter, for_each
from workers.shared_state import SharedState
from workers.threads import ThreadExecution, ThreadPool
from workers.worker_thread import Timer, WorkerThread

SWEEP_SEC = 0.5
REPORT_SEC = 1.0
SPARE_SEC = 1.0
CLEANUP_SEC = 600.0
START_REFUSALS_MOST = 10
"""An answering database may refuse what is stored at a start this often before that is the attempt's fault."""
POLL_AGAIN_SEC = 0.03
"""After a wake-up the queue is polled once more, because notifications of the next moments are left out."""


class Dispatcher(WorkerThread):
    """Brings tasks from the database to the attempts, and outcomes back."""

    def __init__(self, state: SharedState, pool: ThreadPool) -> None:
        super().__init__("dispatcher", state.dispatcher)
        options = state.options
        self._state, self._pool = state, pool
        self._link = db_connection.Link("claiming tasks and storing outcomes")
        self._admission = Admission(state.root, lambda: state.time_limit.timeout_most_sec)
        self._spares = prewarmed.SparePool(enabled=options.warm)
        self._sweeper = Sweeper()
        self._listener = db_connection.Listener(options.queue_names)
        self._gathering = outcome_writer.Gathering()
        self._reporter = Reporter(self.faults)
        self._poll_again_at: float | None = None
        self._busy_at = time.monotonic()
        """When it last had something to run."""
        self._answer_lost = False
        """Whether a claim was sent whose answer never came."""
        self._spare_foreseen = not options.warm or options.burst
        self._claims = Timer(options.poll_interval_sec, jitter=0.1)
        self._listens = Timer(settings.ABSURD_HEARTBEAT_SEC)
        self._sweeps = Timer(SWEEP_SEC, jitter=0.1)
        self._reports = Timer(REPORT_SEC)
        self._spare_checks = Timer(SPARE_SEC)
        self._cleanups = Timer(CLEANUP_SEC, jitter=0.3)

    def wait_sec(self) -> float:
        if not self._link.up:
            return min(self._link.wait_sec, self._spare_checks.wait_sec)
        if self._state.unstarted:
            return 0.0
        timers = (self._claims, self._listens, self._sweeps, self._reports, self._spare_checks)
        waits = [timer.wait_sec for timer in timers]
        if self._poll_again_at is not None:
            waits.append(max(0.0, self._poll_again_at - time.monotonic()))
        gathering_sec = self._gathering.wait_sec(self._state.undelivered)
        if gathering_sec is not None:
            waits.append(gathering_sec)
        return min(waits)

    def turn(self) -> None:
        self._state.claims_ended = self._state.draining
        if self._spare_checks.due():
            self._step("replacing the warm spare", lambda: self._spares.maintain(wanted=not self._state.draining))
        if self._link.worth_trying:
            with self._link.guarded():
                self._work()
        if not self._link.up:
            self._sweeper = Sweeper()
        if self._state.draining:
            self._state.supervisor.set()

    def finish(self) -> None:
        self._listener.close()
        self._spares.close()

    def _work(self) -> None:
        """Do all that is due with the database."""
        if not self._state.registration.registered:
            return
        self._step("storing outcomes", self._deliver)
        if self._listens.due() or not self._link.up:
            self._step("listening for work", self._listen_for_work)
        if not self._spare_foreseen:
            self._spare_foreseen = True
            queue_names = self._state.options.queue_names
            self._step("warming up", lambda: self._spares.expect(prewarmed.kind_used_last(queue_names)))
        if self._reports.due():
            self._step("reporting on running attempts", lambda: self._reporter.store(self._state.running))
        self._step("returning claims whose answer was lost", self._return_unknown)
        self._step("claiming", self._claim)
        for_each(self.faults, "starting", self._state.unstarted, self._start)
        if self._sweeps.due():
            self._step("sweeping", self._sweep)

    def _step(self, name: str, work: Callable[[], object]) -> None:
        """Do a part of the work; a fault in it is logged and costs the other parts nothing. Raises an outage."""
        try:
            work()
        except Exception as error:
            if outages.is_outage(error):
                raise
            self.faults.record(name, error)
            if isinstance(error, Error):
                connection.close_if_unusable_or_obsolete()

    def _deliver(self) -> None:
        attempts = self._state.undelivered
        if self._gathering.wait_sec(attempts) != 0.0:
            return
        ended = [execution for execution in attempts if execution.outcome is not None]
        if simple := [execution for execution in ended if outcome_writer.is_simple(execution)]:
            self._complete_and_claim(simple)
        outage: Exception | None = None
        for execution in ended:
            try:
                if not execution.delivered and outcome_writer.deliver(execution):
                    self._release(execution)
            except Exception as error:
                # A row that another session has locked holds up its own outcome only.
                if outages.is_disconnect(error) or outages.refuses_writes(error):
                    raise
                outage = error
        if outage is not None:
            raise outage

    def _release(self, execution: Execution) -> None:
        execution.settle()
        self._claims.hurry()
        self._state.supervisor.set()

    def _complete_and_claim(self, simple: Sequence[Execution]) -> None:
        """Store successes and claim the next tasks in one transaction, so that one commit serves both.

        Where that fails they are stored one by one.
        """
        slots = self._free_slots(freed=len(simple))
        try:
            if slots < 1:
                outcome_writer.complete_simple(simple)
                claims = []
            else:
                claims = self._request_claims(slots, first=lambda: outcome_writer.complete_simple(simple))
        except Exception as error:
            if outages.is_outage(error):
                raise
            self._answer_lost = False
            self.faults.record("storing outcomes together", error)
            return
        for execution in simple:
            outcome_writer.tidy(execution)
            self._release(execution)
        self._add_all(claims)
        if slots > 0 and not self._state.options.burst:
            self._claims.hurry(self._claims.interval_sec)

    def _listen_for_work(self) -> None:
        if not settings.ABSURD_POLL_ONLY and self._listener.connect() and self._listener.fd is not None:
            self.selector.register(self._listener.fd, selectors.EVENT_READ, self._read_notifications)
            self._claims.hurry()

    def _read_notifications(self) -> None:
        fd = self._listener.fd
        if self._listener.has_work():
            self._claims.hurry()
            self._poll_again_at = time.monotonic() + POLL_AGAIN_SEC
        if self._listener.fd is None and fd is not None:
            self.selector.unregister(fd)

    def _claim(self) -> None:
        state, options = self._state, self._state.options
        if self._poll_again_at is not None and time.monotonic() >= self._poll_again_at:
            self._poll_again_at = None
            self._claims.hurry()
        if not self._claims.due():
            return
        if state.undelivered:
            self._busy_at = time.monotonic()
        if state.roots.forbid_claims:
            state.exhausted = options.burst and not state.undelivered
            state.supervisor.set()
            return
        slots = self._free_slots()
        if slots < 1:
            return
        self._add_all(self._request_claims(slots))
        if not state.undelivered and self._nothing_left():
            state.exhausted = True
            state.supervisor.set()

    def _nothing_left(self) -> bool:
        """Return whether a worker that ends when there is nothing to do has reached that point."""
        options, most_sec = self._state.options, self._state.time_limit.timeout_most_sec
        if options.max_idle_sec is not None and time.monotonic() - self._busy_at > options.max_idle_sec:
            return True
        return options.burst and is_exhausted(self._state.registration.worker, timeout_most_sec=most_sec)

    def _free_slots(self, *, freed: int = 0) -> int:
        """Return how many tasks may be claimed now, if this many attempts more were delivered."""
        state, options = self._state, self._state.options
        if state.draining or state.registration.ordered or state.disk_is_low or state.roots.forbid_claims:
            return 0
        slots = options.concurrency - len(state.undelivered) + freed
        return slots if options.max_tasks is None else min(slots, options.max_tasks - state.claimed_count)

    def _request_claims(self, slots: int, first: Callable[[], None] = lambda: None) -> list[Claim]:
        self._answer_lost = True
        return self._admission.claim(self._state.registration.worker, slots=slots, first=first)

    def _add_all(self, claims: Sequence[Claim]) -> None:
        self._state.claimed_count += len(claims)
        for claim in claims:
            self._add(claim)
        self._answer_lost = False

    def _return_unknown(self) -> None:
        """Return, without using up a retry, what an earlier claim took whose answer was lost."""
        if self._answer_lost:
            known = [execution.claim.claim_token for execution in self._state.attempts]
            return_unknown(self._state.registration.worker, known)
            self._answer_lost = False

    def _add(self, claim: Claim) -> None:
        """Add a claimed task to the attempts; where that fails, so has the attempt."""
        self._state.renewals.at_most(claim.lease_sec / 3)
        try:
            self._state.add(self._execution(claim))
        except Exception as error:
            self.faults.record(f"preparing attempt {claim.attempt} of task {claim.task_id}", error)
            message = f"the attempt could not be prepared: {cleaning.words(error)}"
            fail_attempt(claim, "error", message, AttemptReport())

    def _execution(self, claim: Claim) -> Execution:
        spec = registry.find(claim.task_name)
        if spec is not None and spec.isolation == "thread":
            return ThreadExecution(claim, root=self._state.root, pool=self._pool)
        return ProcessExecution(
            claim,
            root=self._state.root,
            host_memory_gb=self._state.options.memory_gb,
            spares=self._spares,
            confined=self._state.confined,
            other_roots=self._state.registration.other_roots,
        )

    def _start(self, execution: Execution) -> None:
        """Start an attempt whose claim is known to hold, unless it is to be stopped already."""
        if execution.stop_requested is None and self._state.signals.drain:
            execution.request_stop(DRAINED, grace_sec=0.0)
        if (stop := execution.stop_requested) is not None:
            execution.end_unstarted(stop.message, stop.failure_class)
            return
        claim = execution.claim
        try:
            handler = registry.get(claim.task_name).handler
            if execution.log_path is not None:
                directory = str(execution.places.attempt_dir)
                start_attempt(claim, directory=directory, log_path=str(execution.log_path))
            fds = execution.start(handler)
        except (LostClaim, TaskNotFound):
            execution.end_unstarted(LOST.message, LOST.failure_class)
        except UnknownTaskName as error:
            execution.end_unstarted(f"worker {claim.worker_label} cannot run this task: {error}", "unavailable")
        except Exception as error:
            execution.start_refusals += 1
            refused = isinstance(error, Error) and execution.start_refusals < START_REFUSALS_MOST
            if outages.is_outage(error) or refused:
                raise
            reason = host_faults.explain_full_disk(error, self._state.root) or cleaning.words(error)
            execution.end_unstarted(
                f"the attempt could not be started: {reason}", "unavailable" if isinstance(error, OSError) else "error"
            )
        else:
            self._state.started.append((execution, fds))
            self._state.supervisor.set()

    def _sweep(self) -> None:
        self._sweeper.sweep()
        if self._cleanups.due():
            cleanup.sweep(self._state.root)
            # In a thread: there may be many logs.
            threading.Thread(target=cleanup.sweep_state, name="logs", daemon=True).start()
