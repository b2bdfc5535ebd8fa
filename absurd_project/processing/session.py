"""One pass of the main job over a directory: spawn, watch to the end, never longer than it can go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db import Error, connection

from absurd_project.processing.progress import Display, Follower, Step
from absurd_project.processing.report import outcome_of
from absurd_project.processing.serving import Serving
from pipeline_app.calibration_choice import plan_set
from pipeline_app.ingest.register import Ingested
from pipeline_app.workflows import Options, start
from tasks_app.errors import InvalidTransition
from tasks_app.models import Hold, Queue, Run, Task, TaskStatus
from tasks_app.models.task import FINISHED
from tasks_app.operations.tasks import cancel
from tasks_app.postgresql import outages

POLL_SEC = 0.25
CANCEL_SEC = 45.0
"""How long to wait for running attempts to stop after a cancel."""


@dataclass(kw_only=True)
class Session:
    """The runs of one call and how they ended."""

    found: Ingested
    display: Display
    actor: str
    runs: list[Run] = field(default_factory=list)
    trouble: str = ""
    """Why it ended before every task did, if it did."""
    _follower: Follower = field(default_factory=Follower)

    def spawn(self, options: Options) -> None:
        """Start a run for each tile. Raises what `start` raises."""
        self.runs = start(plan_set(self.found.tiles), options, actor=self.actor)
        self._follower.follow([run.run_id for run in self.runs])
        self.display.begin([Step(task_id=t.task_id, tile=t.run.label, stage=t.stage) for t in self.tasks()])  # type: ignore[union-attr]

    def tasks(self) -> list[Task]:
        """Return the tasks of the runs, in order."""
        return list(Task.objects.filter(run__in=self.runs).select_related("run").order_by("id"))

    def wait(self, serving: Serving, *, interrupted: Callable[[], bool], timeout_sec: float | None) -> None:
        """Show progress until every task has finished, or none can go on, or somebody or the clock says stop."""
        deadline = None if timeout_sec is None else time.monotonic() + timeout_sec
        self._tell_of_pause(serving.queue_name)
        while not self.trouble:
            try:
                if self._look():
                    return
                serving.poll()
            except Error as error:
                connection.close()
                self.display.say(f"{outages.describe(error)}; retrying")
                time.sleep(2.0)
            if interrupted():
                self.trouble = "interrupted"
            elif deadline is not None and time.monotonic() > deadline:
                self.trouble = f"not finished after {timeout_sec:g} s"
            time.sleep(POLL_SEC)
        self.display.say(f"{self.trouble}: cancelling unfinished tasks")
        self.cancel_unfinished(self.trouble)

    def _look(self) -> bool:
        """Show what is new; return whether nothing more will come."""
        tasks = self.tasks()
        self.display.take(self._follower.poll())
        unfinished = [task for task in tasks if task.status not in FINISHED]
        if unfinished and all(waits_in_vain(task) for task in unfinished):
            self.trouble = "a task that others depend on has failed"
            return False
        return not unfinished

    def cancel_unfinished(self, reason: str) -> None:
        """Cancel all that has not finished and wait for running attempts to stop."""
        for task in self.tasks():
            if task.status not in FINISHED:
                try:
                    cancel(task.task_id, actor=self.actor, reason=reason)
                except InvalidTransition:
                    continue
        deadline = time.monotonic() + CANCEL_SEC
        while any(task.status not in FINISHED for task in self.tasks()) and time.monotonic() < deadline:
            time.sleep(POLL_SEC)
        self.display.take(self._follower.poll())

    def _tell_of_pause(self, queue_name: str) -> None:
        paused = Queue.objects.filter(name=queue_name, paused_at__isnull=False).first()
        if paused is not None:
            self.display.say(f"queue {queue_name} is paused by {paused.paused_by}; no task starts until it is resumed")

    def ok(self, *, tasks_only: bool) -> bool:
        """Whether every task completed and, unless only tasks count, none with the verdict fail."""
        outcome = outcome_of(self.tasks())
        return outcome.tasks_completed if tasks_only else outcome.science_ok


def waits_in_vain(task: Task) -> bool:
    """Whether a task is held by its dependencies; when all that is left of a run is, no one is left to release it."""
    return task.status == TaskStatus.PENDING and bool(task.hold & Hold.DEPENDENCY)


def run_ids(runs: Sequence[Run]) -> list[UUID]:
    """Return the ids of runs."""
    return [run.run_id for run in runs]
