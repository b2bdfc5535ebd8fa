"""What goes wrong in a night besides: a hung task, one that crashed until it was quarantined, and a dead worker."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from django.core.management import call_command

from tasks_app.errors import AbsurdError
from tasks_app.models import ArchivedTask, Attempt, Limit, Schedule, Task, TaskStatus, Worker
from tasks_app.operations import schedules
from tasks_app.operations.queues import set_limit
from tasks_app.operations.tasks import cancel
from tests.workers.live import LiveWorkers, finished, spawn_one, wait_for, with_progress

WAIT_SEC = 300.0
ACTOR = "user:operator"


@contextlib.contextmanager
def made(environment: dict[str, str], directory: Path) -> Iterator[None]:
    """Cause the troubles with real workers; the hung task runs until the block ends."""
    workers = LiveWorkers(environment, directory)
    set_limit(Limit.Scope.KEY, "calibrator", actor=ACTOR, size=2, reason="memory of one host")
    _schedule()
    _end_earlier()
    try:
        if not ArchivedTask.objects.exists():
            spawn_one("noop", queue_name="reports")
            workers.burst("--queue-name", "reports", timeout_sec=WAIT_SEC)
            call_command("absurd_prune", "--older-than-days", "0", "--queue", "reports", "--json", stdout=StringIO())
        serving = workers.start("--concurrency", "2", "--worker-id", "imager-1")
        finished(spawn_one("segfault", max_retries=5), WAIT_SEC)
        with_progress(spawn_one("hang-in-c", timeout_sec=7200))
        with_progress(spawn_one("sleep", {"seconds": 3600}, timeout_sec=7200))
        doomed = workers.start("--concurrency", "1", "--worker-id", "imager-2")
        held = with_progress(spawn_one("sleep", {"seconds": 3600}, timeout_sec=7200))
        os.kill(doomed.pid, signal.SIGKILL)
        lost = Attempt.objects.filter(task_id=held.task_id, outcome="lost")
        wait_for(lost.exists, WAIT_SEC)
        wait_for(Worker.objects.filter(label="imager-2").exclude(pk__in=Worker.objects.live()).exists, WAIT_SEC)
        held.refresh_from_db()
        assert held.status == TaskStatus.PENDING, held.status  # the other worker is full
        assert serving.poll() is None, workers.logs()
        yield
    finally:
        workers.kill_all()


def _end_earlier() -> None:
    """End what an earlier call has left unfinished; it would take the slots."""
    for task in Task.objects.filter(task_name__in=("sleep", "hang-in-c", "segfault"), completed_at=None):
        with contextlib.suppress(AbsurdError):
            cancel(task.task_id, actor=ACTOR, reason="pictures are taken again")


def _schedule() -> None:
    if not Schedule.objects.exists():
        fields = {"task_name": "echo", "cron": "*/30 * * * *", "params": {"value": "nightly report"}}
        schedules.save("nightly-report", actor=ACTOR, reason="report for the morning meeting", **fields)
