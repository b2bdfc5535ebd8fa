"""One scenario being played: its queue, its workers, the tasks it spawned, and the report it writes."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db import connection

from tasks_app.engine.spawn import NewTask, spawn_many
from tasks_app.errors import InvalidTransition
from tasks_app.models import Attempt, Task, TaskEvent
from tasks_app.models.task import FINISHED
from tasks_app.operations.tasks import cancel
from workers.gameday import polling
from workers.gameday.processes import Crew, own_environment
from workers.gameday.report import Report
from workers.gameday.targets import RECOVERY_BEYOND_LEASE_SEC, STOP_BEYOND_GRACE_SEC

PREFIX = "gameday-"
ACTOR = "gameday"
POLL_SEC = 0.2
BACKOFF_SEC = 0.5


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a game is played with."""

    queue_name: str = "gameday"
    lease_sec: int = 5
    grace_sec: float = 1.0
    full: bool = False
    """Outages as long as what is promised of them: ten minutes instead of seconds."""
    servers: bool = False
    """Whether the database and Valkey that this process is connected to may be stopped and killed."""


class Skipped(Exception):
    """The scenario cannot be played here; the message says why."""


class Game:
    """What a scenario's function is given."""

    def __init__(self, terms: Terms, report: Report) -> None:
        self.terms = terms
        self.report = report
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.crew = Crew(self._environment(), self.directory, terms.queue_name)
        self.task_ids: list[UUID] = []

    def _environment(self) -> dict[str, str]:
        database_url = urlsplit(settings.ABSURD_DATABASE_URL)._replace(path=f"/{connection.settings_dict['NAME']}")
        layer: dict[str, Any] = settings.CHANNEL_LAYERS["default"]
        urls = {
            "SECRET_KEY": settings.SECRET_KEY,
            "ABSURD_DATABASE_URL": database_url.geturl(),
            "ABSURD_REDIS_URL": settings.ABSURD_REDIS_URL,
            "ABSURD_CHANNEL_PREFIX": layer["CONFIG"]["prefix"],
            "ABSURD_QUEUE_NAME": self.terms.queue_name,
        }
        pace = {
            "ABSURD_LEASE_SEC": str(self.terms.lease_sec),
            "ABSURD_STOP_GRACE_SEC": str(self.terms.grace_sec),
            "ABSURD_BACKOFF_BASE_SEC": str(BACKOFF_SEC),
            "ABSURD_WORKER_POLL_INTERVAL": str(POLL_SEC),
        }
        return own_environment(self.directory, urls, pace)

    @property
    def data(self) -> Path:
        """Where the game's workers publish products."""
        return self.directory / "data"

    @property
    def recovery_bound_sec(self) -> float:
        """From the last renewal of a dead worker's lease until its tasks are returned to the queue."""
        return self.terms.lease_sec + RECOVERY_BEYOND_LEASE_SEC

    @property
    def stop_bound_sec(self) -> float:
        """From the order to stop an attempt until its slot is free."""
        return self.terms.grace_sec + STOP_BEYOND_GRACE_SEC

    def spawn(self, task_name: str, params: dict[str, Any] | None = None, **options: Any) -> Task:
        """Spawn one task on the game's queue."""
        return self.spawn_many(task_name, [params or {}], **options)[0]

    def spawn_many(self, task_name: str, params: Sequence[dict[str, Any]], **options: Any) -> list[Task]:
        """Spawn a task for each of the params, in calls of no more than 500."""
        before, settings.ABSURD_LEASE_SEC = settings.ABSURD_LEASE_SEC, self.terms.lease_sec
        tasks: list[Task] = []
        try:
            for start in range(0, len(params), 500):
                requests = [
                    NewTask.of(task_name=task_name, params=each, queue_name=self.terms.queue_name, **options)
                    for each in params[start : start + 500]
                ]
                tasks += spawn_many(requests, actor=ACTOR)
        finally:
            settings.ABSURD_LEASE_SEC = before
        self.task_ids += [task.task_id for task in tasks]
        return tasks

    def cancel(self, task: Task, reason: str = "game day") -> None:
        """Cancel one of the game's own tasks; one that has ended stays as it is."""
        try:
            cancel(task.task_id, actor=ACTOR, reason=reason)
        except InvalidTransition:
            return

    def cancel_the_rest(self) -> None:
        """Cancel what is left of the game's tasks."""
        for task in Task.objects.filter(task_id__in=self.task_ids).exclude(status__in=FINISHED):
            self.cancel(task, reason="the game is over")

    # What a scenario may say of one task

    def expect(self, what: str, passed: bool, found: object = "") -> None:
        """Note whether something is as it had to be."""
        self.report.expect(what, passed, found)

    def expect_outcomes(self, task: Task, wanted: Sequence[str]) -> None:
        """Note whether the task's attempts ended so, in this order."""
        found = polling.outcomes(task)
        self.expect(f"the attempts of {task.task_name} end {', '.join(wanted)}", found == list(wanted), found)

    def expect_verbs(self, task: Task, wanted: Sequence[str]) -> None:
        """Note whether the task's events, but for progress, are exactly these."""
        found = polling.event_types(task)
        self.expect(f"the events of {task.task_name} are {', '.join(wanted)}", found == list(wanted), found)

    def expect_gone(self, attempts: Sequence[Attempt], bound_sec: float, what: str) -> None:
        """Wait until no process of the attempts is left, and note how long it took."""
        seconds = polling.seconds_until_gone(attempts)
        self.report.recovered(f"{what}: no process of it is left", seconds, bound_sec)

    def expect_back_in_queue(
        self, tasks: Sequence[Task], renewals: Sequence[Any], event_type: str = "retrying"
    ) -> None:
        """Note how long after the last renewal of its lease each task was taken from its dead worker."""
        slowest = 0.0
        for task, renewed_at in zip(tasks, renewals, strict=True):
            moment = polling.event(task, event_type).created_at
            slowest = max(slowest, (moment - renewed_at).total_seconds())
        self.report.recovered("returned to the queue after the last renewal", slowest, self.recovery_bound_sec)

    # The end

    def close(self, *, keep: bool) -> None:
        """End the drill's processes and remove its files; the logs of a failed scenario are kept."""
        self.crew.end()
        if keep:
            self.report.notes.append(f"logs and products are kept in {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def count_events(self) -> dict[str, int]:
        """Return how often each event_type was recorded of the game's tasks."""
        counted: dict[str, int] = {}
        for event_type in TaskEvent.objects.filter(task_id__in=self.task_ids).values_list("event_type", flat=True):
            counted[event_type] = counted.get(event_type, 0) + 1
        return dict(sorted(counted.items()))


def pause(seconds: float) -> None:
    """Let time go by."""
    time.sleep(max(0.0, seconds))
