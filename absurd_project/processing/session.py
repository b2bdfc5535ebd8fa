"""Some runs of one call: started or found, followed to the end, never longer than they can continue."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import Error, connection

from absurd_project.processing.progress import Follower, PlainDisplay, Step, first_line
from absurd_project.processing.report import outcome_of
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
    display: PlainDisplay
    actor: str
    runs: list[Run] = field(default_factory=list)
    trouble: str = ""
    """Why it ended before every task did, if it did."""
    _follower: Follower = field(default_factory=Follower)

    def spawn(self, options: Options) -> None:
        """Start a run for each tile. Raises what `start` raises."""
        self.follow(start(plan_set(self.found.tiles), options, actor=self.actor))

    def follow(self, runs: list[Run]) -> None:
        """Show the tasks of these runs from now on."""
        self.runs = runs
        self.display.start([Step.of(task) for task in self.tasks()])

    def tasks(self) -> list[Task]:
        """Return the tasks of the runs, in order."""
        return list(Task.objects.filter(run__in=self.runs).select_related("run").order_by("id"))

    def wait(
        self, keep_running: Callable[[], None], *, interrupted: Callable[[], bool], limit_sec: float | None
    ) -> None:
        """Show progress until every task has finished; cancel those that will not, with the reason in `trouble`.

        `keep_running` restarts the processes that do the work.
        """
        deadline = None if limit_sec is None else time.monotonic() + limit_sec
        while not self.trouble:
            try:
                if self._finished():
                    return
                keep_running()
            except Error as error:
                connection.close()
                self.display.print(f"{outages.describe(error)}; retrying")
                time.sleep(2.0)
            if interrupted():
                self.trouble = "interrupted"
            elif deadline is not None and time.monotonic() > deadline:
                self.trouble = f"not finished after {limit_sec:g} s"
            time.sleep(POLL_SEC)
        self.cancel_unfinished()

    def _finished(self) -> bool:
        """Show what is new; return whether nothing more will come."""
        tasks = self.tasks()
        self._show_changes()
        unfinished = [task for task in tasks if task.status not in FINISHED]
        if unfinished and all(_is_blocked(task) for task in unfinished):
            failed = next((task for task in tasks if task.status == TaskStatus.FAILED), None)
            which = f": {failed.task_name}: {first_line(failed.error or '')}" if failed else ""
            self.trouble = f"a task that others depend on has failed{which}"
            return False
        return not unfinished

    def _show_changes(self) -> None:
        self.display.apply(self._follower.poll([run.run_id for run in self.runs]))

    def cancel_unfinished(self) -> None:
        """Cancel all that has not finished, with the trouble as the reason; wait for running attempts to stop."""
        self.display.print(f"{self.trouble}: cancelling unfinished tasks")
        for task in self.tasks():
            if task.status not in FINISHED:
                try:
                    cancel(task.task_id, actor=self.actor, reason=self.trouble)
                except InvalidTransition:
                    continue
        deadline = time.monotonic() + CANCEL_SEC
        while any(task.status not in FINISHED for task in self.tasks()) and time.monotonic() < deadline:
            time.sleep(POLL_SEC)
        self._show_changes()

    def warn_of_pause(self, queue_name: str) -> None:
        """Show it if no task of the queue will start."""
        paused = Queue.objects.filter(name=queue_name, paused_at__isnull=False).first()
        if paused is not None:
            self.display.print(
                f"queue {queue_name} is paused by {paused.paused_by}; no task starts until it is resumed"
            )

    def ok(self, *, tasks_only: bool) -> bool:
        """Whether every task completed and, unless only tasks count, none with the verdict fail."""
        outcome = outcome_of(self.tasks())
        return outcome.tasks_completed if tasks_only else outcome.science_ok


def _is_blocked(task: Task) -> bool:
    """Whether a task is held by its dependencies; when all that is left of a run is, none is left to release it."""
    return task.status == TaskStatus.PENDING and bool(task.hold & Hold.DEPENDENCY)
