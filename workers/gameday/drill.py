"""One scenario in progress: its queue, its processes, the tasks it spawned, and the report it writes."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db import connection

from tasks_app.engine.spawn import NewTask, spawn_many
from tasks_app.errors import InvalidTransition
from tasks_app.models import Attempt, Task, TaskEvent, TaskStatus
from tasks_app.operations.tasks import cancel, requeue
from workers.gameday import polling
from workers.gameday.processes import Processes, own_environment
from workers.gameday.report import RECOVERY_BEYOND_LEASE_SEC, RETRY_WITHIN_SEC, STOP_BEYOND_GRACE_SEC, Report

PREFIX = "gameday-"
ACTOR = "gameday"
POLL_SEC = 0.2
BACKOFF_SEC = 0.5
SPAWNED_AT_ONCE = 500
OPEN = (TaskStatus.PENDING, TaskStatus.CLAIMED)
FREE = ("drained", "unavailable")
"""Outcomes of attempts after which a task is back in its queue without a retry."""
LAST_EVENTS = {"completed": ("completed",), "cancelled": ("cancel_requested", "cancelled")}
"""Events of a task after its last claim, by the outcome; any other outcome fails it."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How scenarios run."""

    queue_name: str = "gameday"
    lease_sec: int = 5
    grace_sec: float = 1.0
    full: bool = False
    """Outages as long as what is promised of them: ten minutes instead of seconds."""
    servers: bool = False
    """Whether the database and Valkey that this process is connected to may be stopped and killed."""


class Skipped(Exception):
    """The scenario cannot run here; the message says why."""


class Drill:
    """What a scenario's function is given."""

    def __init__(self, options: Options, report: Report) -> None:
        self.options = options
        self.report = report
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.data = self.directory / "data"
        """Where the drill's workers publish products."""
        self.data.mkdir()
        self.processes = Processes(self._environment(), self.directory, options.queue_name)
        self.task_ids: list[UUID] = []

    def _environment(self) -> dict[str, str]:
        database_url = urlsplit(settings.ABSURD_DATABASE_URL)._replace(path=f"/{connection.settings_dict['NAME']}")
        layer: dict[str, Any] = settings.CHANNEL_LAYERS["default"]
        var = self.directory / "var"
        var.mkdir()
        return own_environment(
            var,
            PGAPPNAME=self.directory.name,
            SECRET_KEY=settings.SECRET_KEY,
            ABSURD_DATA_ROOTS=str(self.data),
            ABSURD_DIAGNOSTICS="true",
            ABSURD_DATABASE_URL=database_url.geturl(),
            ABSURD_REDIS_URL=settings.ABSURD_REDIS_URL,
            ABSURD_CHANNEL_PREFIX=layer["CONFIG"]["prefix"],
            ABSURD_QUEUE_NAME=self.options.queue_name,
            ABSURD_LEASE_SEC=str(self.options.lease_sec),
            ABSURD_STOP_GRACE_SEC=str(self.options.grace_sec),
            ABSURD_BACKOFF_BASE_SEC=str(BACKOFF_SEC),
            ABSURD_WORKER_POLL_INTERVAL=str(POLL_SEC),
        )

    @property
    def recovery_bound_sec(self) -> float:
        """From the last renewal of a dead worker's lease until its tasks are returned to the queue."""
        return self.options.lease_sec + RECOVERY_BEYOND_LEASE_SEC

    @property
    def stop_bound_sec(self) -> float:
        """From the request to stop an attempt until its slot is free."""
        return self.options.grace_sec + STOP_BEYOND_GRACE_SEC

    def spawn(self, task_name: str, params: dict[str, Any] | None = None, **options: Any) -> Task:
        """Spawn one task on the drill's queue."""
        return self.spawn_many(task_name, [params or {}], **options)[0]

    def spawn_many(self, task_name: str, params: Sequence[dict[str, Any]], **options: Any) -> list[Task]:
        """Spawn a task for each of the params, in calls of no more than 500."""
        before, settings.ABSURD_LEASE_SEC = settings.ABSURD_LEASE_SEC, self.options.lease_sec
        tasks: list[Task] = []
        try:
            for start in range(0, len(params), SPAWNED_AT_ONCE):
                requests = [
                    NewTask.of(task_name=task_name, params=each, queue_name=self.options.queue_name, **options)
                    for each in params[start : start + SPAWNED_AT_ONCE]
                ]
                tasks += spawn_many(requests, actor=ACTOR)
        finally:
            settings.ABSURD_LEASE_SEC = before
        self.task_ids += [task.task_id for task in tasks]
        return tasks

    def cancel(self, task: Task, reason: str = "fault drill") -> None:
        """Cancel one of the drill's own tasks; one that has ended stays as it is."""
        try:
            cancel(task.task_id, actor=ACTOR, reason=reason)
        except InvalidTransition:
            return

    def cancel_open_tasks(self) -> None:
        """Cancel what is left of the drill's tasks."""
        for task in Task.objects.filter(task_id__in=self.task_ids, status__in=OPEN):
            self.cancel(task, reason="the drill is over")

    def expect(self, what: str, passed: bool, found: object = "") -> None:
        """Add a check to the report."""
        self.report.expect(what, passed, found)

    def expect_status(self, what: str, task: Task, status: str) -> None:
        """Check the stored status of a task."""
        found = polling.fresh(task).status
        self.expect(what, found == status, found)

    def expect_outcomes(self, task: Task, *wanted: str) -> None:
        """Check how the task's attempts ended, in order."""
        found = polling.outcomes(task)
        self.expect(f"the attempts of {task.task_name} end {', '.join(wanted)}", found == list(wanted), found)

    def expect_events(self, task: Task, *wanted: str) -> None:
        """Check that the task's events, but for progress, are exactly these."""
        found = polling.event_types(task)
        self.expect(f"the events of {task.task_name} are {', '.join(wanted)}", found == list(wanted), found)

    def expect_course(self, task: Task, *outcomes: str) -> None:
        """Check how the task's attempts ended, in order, and that its events are exactly those that follow from it."""
        events = ["spawned"]
        for outcome in outcomes[:-1]:
            events += ["claimed", "returned" if outcome in FREE else "retrying"]
        last = outcomes[-1]
        events += ["claimed", *LAST_EVENTS.get(last, ("failed",))]
        self.expect_outcomes(task, *outcomes)
        self.expect_events(task, *events)

    def expect_gone(self, attempts: Sequence[Attempt], bound_sec: float, what: str) -> None:
        """Wait until no process of the attempts is left, and check how long it took."""
        seconds = polling.seconds_until_gone(attempts)
        self.report.recovered(f"{what}: no process of it is left", seconds, bound_sec)

    def expect_back_in_queue(self, tasks: Sequence[Task], renewals: Sequence[datetime] = ()) -> None:
        """Check how long after the last renewal of its lease each task was taken from its dead worker.

        `renewals` are of the tasks, where they may have been claimed again since.
        """
        slowest = 0.0
        for task, renewed_at in zip(tasks, renewals or list(map(polling.last_renewal, tasks)), strict=True):
            moment = polling.event(task, "retrying").created_at
            slowest = max(slowest, (moment - renewed_at).total_seconds())
        self.report.recovered("returned to the queue after the last renewal", slowest, self.recovery_bound_sec)

    def expect_next_attempt_soon(self, task: Task) -> None:
        """Check how long after the end of the first attempt the second started; the backoff counts."""
        first, second = polling.attempts(task)[:2]
        if first.ended_at is not None:
            seconds = (second.started_at - first.ended_at).total_seconds()
            self.report.recovered("the next attempt has started", seconds, BACKOFF_SEC + RETRY_WITHIN_SEC)

    def expect_stopped_in_time(self, task: Task) -> None:
        """Wait for the end of a cancelled task; check how long after the request it came, when its slot is free."""
        polling.finished(task)
        asked, ended = polling.event(task, "cancel_requested"), polling.event(task, "cancelled")
        seconds = (ended.created_at - asked.created_at).total_seconds()
        self.report.recovered(f"the cancelled {task.task_name} has freed its slot", seconds, self.stop_bound_sec)

    def expect_workers_alive(self) -> None:
        """Check that every worker still runs."""
        dead = [worker.label for worker in self.processes.workers if not worker.alive]
        self.expect("every worker is still running", not dead, dead)

    def close(self, *, keep: bool) -> None:
        """End the drill's processes and remove its files; the logs of a failed scenario are kept."""
        self.processes.end()
        if keep:
            self.report.notes.append(f"logs and products are kept in {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def count_events(self) -> dict[str, int]:
        """Return how often each event_type was recorded of the drill's tasks."""
        types = TaskEvent.objects.filter(task_id__in=self.task_ids).values_list("event_type", flat=True)
        return dict(sorted(Counter(types).items()))


def end_open_tasks(queue_name: str) -> None:
    """Cancel whatever drills have left open on a queue, where no worker is left to confirm that it has stopped."""
    for task in Task.objects.filter(queue_id=queue_name, created_by=ACTOR, status__in=OPEN):
        try:
            if cancel(task.task_id, actor=ACTOR, reason="the drill is over").status == TaskStatus.CLAIMED:
                requeue(task.task_id, actor=ACTOR, reason="the drill is over", force=True)
        except InvalidTransition:
            continue


Run = Callable[[Drill], None]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A fault, and what must be true afterwards."""

    name: str
    title: str
    run: Run
    servers: bool = False
    """Whether it stops or kills servers, and therefore needs its own."""
    endurance: bool = False
    """Whether it takes minutes, always or with --full."""


class Scenarios(dict[str, Scenario]):
    """Scenarios by name, in the order in which they run."""

    def add(self, name: str, *, servers: bool = False, endurance: bool = False) -> Callable[[Run], Run]:
        """Add a function as a scenario; its docstring is the title."""

        def decorate(run: Run) -> Run:
            title = (run.__doc__ or "").rstrip(".")
            self[name] = Scenario(name=name, title=title, run=run, servers=servers, endurance=endurance)
            return run

        return decorate


SCENARIOS = Scenarios()
scenario = SCENARIOS.add
