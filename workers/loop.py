"""The worker itself: one thread, one select, timers. It supervises attempts and talks to the database."""

from __future__ import annotations

import functools
import logging
import os
import selectors
import subprocess
import time

from django.conf import settings
from django.db import Error

from tasks_app import claiming, full_disk, outages, registry
from tasks_app.errors import LostClaim, TaskNotFound, UnknownTaskName
from tasks_app.models import Task, WorkerOrder
from tasks_app.sweeping.sweeper import Sweeper
from workers import backlog, confinement, deliveries, environment, identity, leftovers, link, publication, warming
from workers.admission import Admission
from workers.disk import DiskFloor
from workers.execution import Execution
from workers.gathering import Gathering
from workers.listener import Listener
from workers.notification import Notifier
from workers.options import Options
from workers.outcome import CANCELLED, DRAINED, LOST
from workers.presence import Presence
from workers.recycling import Recycling
from workers.reporting import Reporter
from workers.root_watch import RootWatch
from workers.spare import Bench
from workers.stop_orders import StopOrders
from workers.supervisor import ProcessExecution
from workers.threads import Crew, ThreadExecution
from workers.timer import Timer
from workers.weights import Shares

SWEEP_SEC = 0.5
LIMITS_SEC = 1.0
WATCH_SEC = 1.0
LEFTOVERS_SEC = 600.0
LOOK_AGAIN_SEC = 0.03
"""After a wake-up the queue is looked into once more, because notifications of the next moments are left out."""
LAST_WORDS_SEC = 10.0
"""How long a worker that was told twice to stop tries to return its tasks."""

logger = logging.getLogger(__name__)


class Loop:
    """Claims, runs, renews, delivers, until it is told to stop or has nothing left to do."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._root = publication.choose_root(settings.ABSURD_DATA_ROOTS, settings.ABSURD_VAR)
        self._presence = Presence(identity.describe(options), self._root)
        self._admission = Admission(Shares(options.weights), self._root)
        self._recycling = Recycling(options)
        self._notifier = Notifier()
        self._link = link.Link()
        self._sweeper = Sweeper()
        self._selector = selectors.DefaultSelector()
        self._executions: list[Execution] = []
        self._guardians: list[subprocess.Popen[bytes]] = []
        self._claimed_count = 0
        self._orders = StopOrders()
        self._exhausted = False
        self._claims = Timer(options.poll_interval_sec, jitter=0.1)
        self._renewals = Timer(settings.ABSURD_LEASE_SEC / 3)
        self._heartbeats = Timer(identity.HEARTBEAT_SEC)
        self._sweeps = Timer(SWEEP_SEC, jitter=0.1)
        self._limits = Timer(LIMITS_SEC)
        self._watch = Timer(WATCH_SEC)
        self._leftovers = Timer(LEFTOVERS_SEC, jitter=0.3)
        self._crew = Crew(options.concurrency)
        self._listener = Listener(options.queue_names)
        self._look_again_at: float | None = None
        self._gathering = Gathering()
        self._reporter = Reporter()
        self._bench = Bench(settings.ABSURD_VAR, enabled=options.warm, log_bytes_most=settings.ABSURD_LOG_MAX_MB << 20)
        self._confined = options.confine and confinement.abi() > 0
        self._disk = DiskFloor(self._root, settings.ABSURD_DISK_FLOOR_GB)
        self._roots = RootWatch()
        self._timers = (self._claims, self._renewals, self._heartbeats, self._sweeps, self._limits, self._watch)

    def run(self) -> bool:
        """Work until the end; return whether a fresh process is to go on in this one's place."""
        link.use_single_connection()
        environment.make_shared(settings.ABSURD_VAR)
        self._orders.catch()
        self._roots.start()
        self._selector.register(self._orders.reader, selectors.EVENT_READ, self._orders.drain_reader)
        self._selector.register(self._crew.fd, selectors.EVENT_READ, self._crew.collect)
        logger.info(
            "worker %s starts: queues=%s concurrency=%d memory_gb=%.1f confined=%s pid=%d",
            self._options.worker_id,
            ",".join(self._options.queue_names),
            self._options.concurrency,
            self._options.memory_gb,
            "yes" if self._confined else "no",
            os.getpid(),
        )
        if self._options.confine and not self._confined:
            logger.warning("this kernel cannot confine attempts: that they wrote into an input shows only afterwards")
        self._warm_up()
        while not self._finished():
            self._turn()
        self._leave()
        return bool(self._recycling.because) and not self._orders.drain

    def _warm_up(self) -> None:
        """Expect more of what the queues ran last; not when it is to end soon anyway."""
        if self._options.warm and not self._options.burst:
            with self._link.guarded():
                self._bench.expect(warming.kind_used_last(self._options.queue_names))

    @property
    def _ending(self) -> bool:
        """Whether it ends after what it runs, come what may."""
        most = self._options.max_tasks
        enough = most is not None and self._claimed_count >= most
        return self._orders.drain or self._exhausted or enough or bool(self._recycling.because)

    @property
    def _draining(self) -> bool:
        """Whether it claims nothing more and ends; an operator may still take back the order to do so."""
        return self._ending or self._presence.ordered == WorkerOrder.DRAIN

    def _finished(self) -> bool:
        if self._orders.at_once and self._orders.since_sec > LAST_WORDS_SEC:
            return True
        return self._draining and not self._executions

    def _turn(self) -> None:
        """Wait for something to happen, then do all that is due."""
        for key, _ in self._selector.select(self._wait_sec()):
            key.data()
        self._supervise()
        if self._link.worth_trying:
            with self._link.guarded():
                self._talk()
        if not self._link.up:
            self._sweeper = Sweeper()
        self._notifier.alive()
        self._guardians = [guardian for guardian in self._guardians if guardian.poll() is None]

    def _wait_sec(self) -> float:
        if not self._link.up:
            return min(self._limits.wait_sec, 0.1)
        waits = [timer.wait_sec for timer in self._timers]
        if self._notifier.wait_sec is not None:
            waits.append(self._notifier.wait_sec)
        if self._look_again_at is not None:
            waits.append(max(0.0, self._look_again_at - time.monotonic()))
        if any(not execution.running and execution.outcome is None for execution in self._executions):
            waits.append(0.0)
        gathering_sec = self._gathering.wait_sec(self._executions)
        if gathering_sec is not None:
            waits.append(gathering_sec)
        return min(waits)

    # Attempts

    def _supervise(self) -> None:
        """Enforce what needs no database: limits, and the end of patience when told to stop."""
        running = [execution for execution in self._executions if execution.running]
        if self._limits.due():
            for execution in running:
                execution.check_limits(grace_sec=settings.ABSURD_STOP_GRACE_SEC)
            self._bench.tend(wanted=not self._draining)
            self._disk.check(running, grace_sec=settings.ABSURD_STOP_GRACE_SEC)
            if self._roots.news():
                self._heartbeats.hurry()
                self._look_at_root()
        if not self._orders.drain:
            return
        if news := self._orders.news():
            logger.info("worker %s is %s: %d attempts running", self._options.worker_id, news, len(running))
            self._notifier.stopping()
            self._heartbeats.hurry()
        for execution in self._executions:
            if self._orders.at_once:
                execution.kill(DRAINED)
            elif self._orders.since_sec > self._options.drain_timeout_sec:
                execution.stop(DRAINED, grace_sec=settings.ABSURD_STOP_GRACE_SEC)
            execution.worker_stops()
            if not execution.running and execution.outcome is None:
                execution.give_up(DRAINED)

    def _look_at_root(self) -> None:
        """Start anew when another root is to take the products, because one that was missing at the start is back."""
        try:
            chosen = publication.choose_root(settings.ABSURD_DATA_ROOTS, settings.ABSURD_VAR)
        except publication.NoPublishRoot:
            return
        if not self._roots.missing and chosen != self._root:
            self._recycling.order(f"products go to {chosen} from now on")

    def _listen(self, execution: Execution) -> None:
        for fd in execution.listen():
            if fd in self._selector.get_map():
                self._selector.unregister(fd)

    def _start(self, execution: Execution) -> None:
        """Start an attempt whose claim is known to hold."""
        claim = execution.claim
        try:
            handler = registry.get(claim.task_name).handler
            if execution.log_path is not None:
                places = execution.places
                claiming.start_attempt(claim, directory=str(places.attempt_dir), log_path=str(execution.log_path))
            for fd in execution.start(handler):
                self._selector.register(fd, selectors.EVENT_READ, functools.partial(self._listen, execution))
        except (LostClaim, TaskNotFound):
            execution.give_up(LOST)
        except UnknownTaskName as error:
            execution.fail_to_start(f"worker {claim.worker_label} cannot run this task: {error}", "unavailable")
        except (OSError, Error) as error:
            if outages.is_outage(error):
                raise
            execution.fail_to_start(
                f"the attempt could not be started: {full_disk.explain(error, self._root) or error}",
                "unavailable" if isinstance(error, OSError) else "error",
            )

    def _forget(self, execution: Execution) -> None:
        self._executions.remove(execution)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, functools.partial) and key.data.args == (execution,):
                self._selector.unregister(key.fileobj)
        guardian = execution.close()
        if guardian is not None:
            self._guardians.append(guardian)
        self._claims.hurry()

    # The database

    def _talk(self) -> None:
        """Do all that is due with the database. After an outage the leases come first."""
        back = not self._link.up
        if back or self._heartbeats.due():
            self._beat()
            self._listen_for_work()
        if self._renewals.due() or back:
            self._renew()
        self._deliver()
        if self._watch.due():
            self._store_progress()
            self._presence.look()
            self._obey()
            self._reporter.tell(self._executions)
            self._look_for_cancel()
        self._claim()
        for execution in self._executions:
            if not execution.running and execution.outcome is None:
                self._start(execution)
        if self._sweeps.due():
            self._sweep()

    def _beat(self) -> None:
        """Report, and see whether it is time to start anew."""
        self._recycling.check(self._presence.rss_bytes)
        self._obey()
        self._presence.beat(ending=self._ending, missing_roots=self._roots.missing, stop_signalled=self._orders.drain)
        self._notifier.ready()

    def _obey(self) -> None:
        """Do what an operator ordered; pausing and draining are looked up where they matter."""
        if self._presence.ordered == WorkerOrder.RECYCLE and not self._recycling.because:
            self._recycling.order()
            self._heartbeats.hurry()
        running = f"{len(self._executions)} of {self._options.concurrency} slots busy"
        self._notifier.status(f"{self._presence.ordered or ('ending' if self._ending else 'working')}: {running}")

    def _renew(self) -> None:
        renewal = claiming.renew([execution.claim for execution in self._executions])
        for execution in self._executions:
            if execution.claim.task_id in renewal.lost and execution.running:
                execution.kill(LOST)
            elif execution.claim.task_id in renewal.cancel_requested:
                self._cancel(execution)

    def _look_for_cancel(self) -> None:
        """Ask more often than leases need it, so that a cancel takes effect within a second or so."""
        tokens = [execution.claim.claim_token for execution in self._executions if execution.running]
        if not tokens:
            return
        asked = Task.objects.filter(claim_token__in=tokens, cancel_requested_at__isnull=False)
        wanted = set(asked.values_list("claim_token", flat=True))
        for execution in self._executions:
            if execution.claim.claim_token in wanted:
                self._cancel(execution)

    def _cancel(self, execution: Execution) -> None:
        if execution.running:
            execution.stop(CANCELLED, grace_sec=settings.ABSURD_STOP_GRACE_SEC)
        elif execution.outcome is None:
            execution.give_up(CANCELLED)

    def _deliver(self) -> None:
        if self._gathering.wait_sec(self._executions) != 0.0:
            return
        ended = [execution for execution in self._executions if execution.outcome is not None]
        for execution in deliveries.deliver_together(ended):
            self._forget(execution)
            ended.remove(execution)
        for execution in ended:
            if deliveries.deliver(execution):
                self._forget(execution)

    def _store_progress(self) -> None:
        for execution in self._executions:
            news, execution.news = execution.news, None
            if news is None or not execution.running:
                continue
            try:
                claiming.report_progress(
                    execution.claim, fraction=news.fraction, message=news.message, metrics=news.metrics
                )
            except (LostClaim, TaskNotFound):
                execution.kill(LOST)

    def _listen_for_work(self) -> None:
        if not settings.ABSURD_POLL_ONLY and self._listener.connect() and self._listener.fd is not None:
            self._selector.register(self._listener.fd, selectors.EVENT_READ, self._hear_of_work)
            self._claims.hurry()

    def _hear_of_work(self) -> None:
        fd = self._listener.fd
        if self._listener.hear():
            self._claims.hurry()
            self._look_again_at = time.monotonic() + LOOK_AGAIN_SEC
        if self._listener.fd is None and fd is not None:
            self._selector.unregister(fd)

    def _claim(self) -> None:
        if self._look_again_at is not None and time.monotonic() >= self._look_again_at:
            self._look_again_at = None
            self._claims.hurry()
        if not self._claims.due() or self._draining or self._presence.ordered or self._disk.low:
            return
        if self._roots.forbid_claims:
            self._exhausted = self._options.burst and not self._executions
            return
        slots = self._options.concurrency - len(self._executions)
        if self._options.max_tasks is not None:
            slots = min(slots, self._options.max_tasks - self._claimed_count)
        if slots < 1:
            return
        claims = self._admission.claim(self._presence.worker, slots=slots)
        self._claimed_count += len(claims)
        for claim in claims:
            self._renewals.at_most(claim.lease_sec / 3)
            self._executions.append(self._execution(claim))
        if self._options.burst and not self._executions:
            self._exhausted = backlog.is_exhausted(self._options.queue_names, identity.host_id())

    def _execution(self, claim: claiming.Claim) -> Execution:
        spec = registry.find(claim.task_name)
        if spec is not None and spec.isolation == "thread":
            return ThreadExecution(claim, root=self._root, data_roots=settings.ABSURD_DATA_ROOTS, crew=self._crew)
        return ProcessExecution(
            claim,
            root=self._root,
            var=settings.ABSURD_VAR,
            data_roots=settings.ABSURD_DATA_ROOTS,
            host_memory_gb=self._options.memory_gb,
            bench=self._bench,
            confined=self._confined,
        )

    def _sweep(self) -> None:
        """Do the queue's upkeep; a fault in it must not end the attempts that run here."""
        try:
            self._sweeper.sweep()
            if self._leftovers.due():
                leftovers.sweep(self._root)
                leftovers.sweep_state_aside(settings.ABSURD_VAR, log_days=settings.ABSURD_LOG_DAYS)
        except (Error, OSError) as error:
            if outages.is_outage(error):
                raise
            logger.exception("a sweep failed")

    def _leave(self) -> None:
        """Say goodbye; the guardians that still clear away are given a moment, and outlive this process if need be."""
        self._notifier.stopping()
        self._bench.close()
        for execution in list(self._executions):
            self._forget(execution)
        with self._link.guarded():
            self._presence.leave()
        deadline = time.monotonic() + 2.0
        while any(guardian.poll() is None for guardian in self._guardians) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._listener.close()
        self._orders.release()
        ending = f"starts anew, because {self._recycling.because}" if self._recycling.because else "stopped"
        logger.info("worker %s %s after %d tasks", self._options.worker_id, ending, self._claimed_count)
