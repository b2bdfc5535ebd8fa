"""The thread that claims, starts and delivers: all that needs the database or the file system and may have to wait."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from django.conf import settings
from django.db import Error, connection

from tasks_app import cleaning
from tasks_app.engine import registry, worker_calls
from tasks_app.engine.worker_calls import AttemptReport, Claim
from tasks_app.errors import LostClaim, TaskNotFound, UnknownTaskName
from tasks_app.files import host_faults
from tasks_app.maintenance.sweeper import Sweeper
from tasks_app.postgresql import outages
from workers import backlog, cleanup, db_connection, identity, outcome_writer, warming
from workers.admission import Admission
from workers.execution import Execution
from workers.notify_listener import Listener
from workers.outcome import DRAINED, LOST
from workers.outcome_batches import Gathering
from workers.process import confine
from workers.process.prewarmed import Bench
from workers.process.supervisor import ProcessExecution
from workers.reporting import Reporter
from workers.shared_state import SharedState
from workers.threads import Crew, ThreadExecution
from workers.timer import Timer
from workers.weights import Shares
from workers.worker_thread import WorkerThread

SWEEP_SEC = 0.5
WATCH_SEC = 1.0
SPARE_SEC = 1.0
LEFTOVERS_SEC = 600.0
START_REFUSALS_MOST = 10
"""So often an answering database may refuse what is stored at a start before that is the attempt's fault."""
LOOK_AGAIN_SEC = 0.03
"""After a wake-up the queue is looked into once more, because notifications of the next moments are left out."""


class Bookkeeping(WorkerThread):
    """Brings tasks from the database to the attempts, and outcomes back.

    `on_start` is called with an attempt and the descriptors to listen to, `on_change` when anything else of interest to
    the supervising thread has happened, `on_lease` with the length of each new lease.
    """

    def __init__(
        self,
        state: SharedState,
        root: Path,
        crew: Crew,
        *,
        on_start: Callable[[Execution, list[int]], None],
        on_change: Callable[[], None],
        on_lease: Callable[[float], None],
    ) -> None:
        super().__init__("bookkeeping")
        options = state.options
        self._state, self._root, self._crew = state, root, crew
        self._on_start, self._on_change, self._on_lease = on_start, on_change, on_lease
        self.confined = options.confine and confine.abi() > 0
        self._link = db_connection.Link("claiming and delivering")
        self._admission = Admission(Shares(options.weights), root)
        self._bench = Bench(settings.ABSURD_VAR, enabled=options.warm, log_bytes_most=settings.ABSURD_LOG_MAX_MB << 20)
        self._sweeper = Sweeper()
        self._listener = Listener(options.queue_names)
        self._gathering = Gathering()
        self._reporter = Reporter(self.faults)
        self._look_again_at: float | None = None
        self._answer_lost = False
        """Whether a claim was sent whose answer never came."""
        self._warmed_up = not options.warm or options.burst
        self._claims = Timer(options.poll_interval_sec, jitter=0.1)
        self._listens = Timer(identity.HEARTBEAT_SEC)
        self._sweeps = Timer(SWEEP_SEC, jitter=0.1)
        self._watch = Timer(WATCH_SEC)
        self._spares = Timer(SPARE_SEC)
        self._leftovers = Timer(LEFTOVERS_SEC, jitter=0.3)

    def wait_sec(self) -> float:
        if not self._link.up:
            return min(self._link.wait_sec, self._spares.wait_sec)
        attempts = self._state.undelivered
        if any(not execution.running and execution.outcome is None for execution in attempts):
            return 0.0
        timers = (self._claims, self._listens, self._sweeps, self._watch, self._spares)
        waits = [timer.wait_sec for timer in timers]
        if self._look_again_at is not None:
            waits.append(max(0.0, self._look_again_at - time.monotonic()))
        gathering_sec = self._gathering.wait_sec(attempts)
        if gathering_sec is not None:
            waits.append(gathering_sec)
        return min(waits)

    def turn(self) -> None:
        self._state.claims_ended = self._state.draining
        if self._spares.due():
            self._step("looking after the warm spare", lambda: self._bench.tend(wanted=not self._state.draining))
        if self._link.worth_trying:
            with self._link.guarded():
                self._talk()
        if not self._link.up:
            self._sweeper = Sweeper()
        if self._state.draining:
            self._on_change()

    def finish(self) -> None:
        self._listener.close()
        self._bench.close()

    def _talk(self) -> None:
        """Do all that is due with the database."""
        if not self._state.presence.registered:
            return
        self._step("delivering outcomes", self._deliver)
        if self._listens.due() or not self._link.up:
            self._step("listening for work", self._listen_for_work)
        if not self._warmed_up:
            self._warmed_up = True
            self._step("warming up", self._warm_up)
        if self._watch.due():
            running = self._state.running
            self._each("storing the progress", running, self._store_progress)
            self._step("storing what attempts use", lambda: self._reporter.tell(running))
        self._step("returning claims of which it never heard", self._return_unknown)
        self._step("claiming", self._claim)
        unstarted = [e for e in self._state.undelivered if not e.running and e.outcome is None]
        self._each("starting", unstarted, self._start)
        if self._sweeps.due():
            self._step("sweeping", self._sweep)

    def _step(self, name: str, work: Callable[[], object]) -> None:
        """Do a part of the work; a fault in it is logged and costs the other parts nothing. Raises an outage."""
        try:
            work()
        except Exception as error:
            if outages.is_outage(error):
                raise
            self.faults.note(name, error)
            if isinstance(error, Error):
                connection.close_if_unusable_or_obsolete()

    def _each(self, name: str, executions: Iterable[Execution], work: Callable[[Execution], None]) -> None:
        """Do a part of the work for each attempt by itself; one whose claim is lost is ended. Raises an outage."""
        for execution in executions:
            try:
                work(execution)
            except (LostClaim, TaskNotFound):
                execution.kill(LOST)
            except Exception as error:
                if outages.is_outage(error):
                    raise
                self.faults.note(f"{name} of {execution.named}", error)

    def _warm_up(self) -> None:
        """Expect more of what the queues ran last."""
        self._bench.expect(warming.kind_used_last(self._state.options.queue_names))

    def _deliver(self) -> None:
        attempts = self._state.undelivered
        if self._gathering.wait_sec(attempts) != 0.0:
            return
        ended = [execution for execution in attempts if execution.outcome is not None]
        for execution in outcome_writer.deliver_together(ended):
            self._delivered(execution)
        outage: Exception | None = None
        for execution in ended:
            try:
                if not execution.delivered and outcome_writer.deliver(execution):
                    self._delivered(execution)
            except Exception as error:
                # A row that somebody else has locked holds up its own outcome only.
                if outages.is_disconnect(error) or outages.refuses_writes(error):
                    raise
                outage = error
        if outage is not None:
            raise outage

    def _delivered(self, execution: Execution) -> None:
        execution.delivered = True
        self._claims.hurry()
        self._on_change()

    def _store_progress(self, execution: Execution) -> None:
        news = execution.take_news()
        if news is None:
            return
        try:
            worker_calls.report_progress(
                execution.claim, fraction=news.fraction, message=news.message, metrics=news.metrics
            )
        except Error:
            execution.put_back(news)
            raise

    def _listen_for_work(self) -> None:
        if not settings.ABSURD_POLL_ONLY and self._listener.connect() and self._listener.fd is not None:
            self.selector.register(self._listener.fd, selectors.EVENT_READ, self._hear_of_work)
            self._claims.hurry()

    def _hear_of_work(self) -> None:
        fd = self._listener.fd
        if self._listener.hear():
            self._claims.hurry()
            self._look_again_at = time.monotonic() + LOOK_AGAIN_SEC
        if self._listener.fd is None and fd is not None:
            self.selector.unregister(fd)

    def _claim(self) -> None:
        state, options = self._state, self._state.options
        if self._look_again_at is not None and time.monotonic() >= self._look_again_at:
            self._look_again_at = None
            self._claims.hurry()
        if not self._claims.due() or state.draining or state.presence.ordered or state.disk_is_low:
            return
        if state.roots.forbid_claims:
            state.exhausted = options.burst and not state.undelivered
            self._on_change()
            return
        slots = options.concurrency - len(state.undelivered)
        if options.max_tasks is not None:
            slots = min(slots, options.max_tasks - state.claimed_count)
        if slots < 1:
            return
        self._answer_lost = True
        claims = self._admission.claim(state.presence.worker, slots=slots)
        state.claimed_count += len(claims)
        for claim in claims:
            self._take(claim)
        self._answer_lost = False
        if options.burst and not state.undelivered:
            state.exhausted = backlog.is_exhausted(options.queue_names, identity.host_id())
            self._on_change()

    def _return_unknown(self) -> None:
        """Give back, free of charge, what an earlier claim may have taken whose answer was lost with the connection."""
        if self._answer_lost:
            known = [execution.claim.claim_token for execution in self._state.attempts]
            worker_calls.return_unknown(self._state.presence.worker, known)
            self._answer_lost = False

    def _take(self, claim: Claim) -> None:
        """Take in a claimed task; where that fails, the attempt is over before it began."""
        self._on_lease(claim.lease_sec)
        try:
            self._state.add(self._execution(claim))
        except Exception as error:
            self.faults.note(f"preparing attempt {claim.attempt} of task {claim.task_id}", error)
            message = f"the attempt could not be prepared: {cleaning.words(error)}"
            worker_calls.fail(claim, "error", message, AttemptReport())

    def _execution(self, claim: Claim) -> Execution:
        spec = registry.find(claim.task_name)
        if spec is not None and spec.isolation == "thread":
            return ThreadExecution(claim, root=self._root, data_roots=settings.ABSURD_DATA_ROOTS, crew=self._crew)
        return ProcessExecution(
            claim,
            root=self._root,
            var=settings.ABSURD_VAR,
            data_roots=settings.ABSURD_DATA_ROOTS,
            host_memory_gb=self._state.options.memory_gb,
            bench=self._bench,
            confined=self.confined,
        )

    def _start(self, execution: Execution) -> None:
        """Start an attempt whose claim is known to hold, unless it is to be stopped already."""
        if execution.stop_asked is None and self._state.orders.drain:
            execution.begin_stop(DRAINED, grace_sec=0.0)
        if execution.stop_asked is not None:
            execution.give_up(execution.stop_asked)
            return
        claim = execution.claim
        try:
            handler = registry.get(claim.task_name).handler
            if execution.log_path is not None:
                places = execution.places
                worker_calls.start_attempt(claim, directory=str(places.attempt_dir), log_path=str(execution.log_path))
            fds = execution.start(handler)
        except (LostClaim, TaskNotFound):
            execution.give_up(LOST)
        except UnknownTaskName as error:
            execution.fail_to_start(f"worker {claim.worker_label} cannot run this task: {error}", "unavailable")
        except Exception as error:
            execution.start_refusals += 1
            if outages.is_outage(error) or (
                isinstance(error, Error) and execution.start_refusals < START_REFUSALS_MOST
            ):
                raise
            reason = host_faults.explain_full_disk(error, self._root) or cleaning.words(error)
            execution.fail_to_start(
                f"the attempt could not be started: {reason}", "unavailable" if isinstance(error, OSError) else "error"
            )
        else:
            self._on_start(execution, fds)

    def _sweep(self) -> None:
        """Do the queue's upkeep."""
        self._sweeper.sweep()
        if self._leftovers.due():
            cleanup.sweep(self._root)
            cleanup.sweep_state_aside(settings.ABSURD_VAR, log_days=settings.ABSURD_LOG_DAYS)
