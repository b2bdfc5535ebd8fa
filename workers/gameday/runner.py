"""Run a scenario, check what must be true after any of them, and clear away; and refuse where none may run."""

from __future__ import annotations

import contextlib
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.db import Error, connection
from django.db.models import Count, Q

from tasks_app.models import Attempt, Freeze, Queue, Task, TaskEvent
from tasks_app.models.task import FINISHED
from tasks_app.monitoring.workers import recent_workers
from tasks_app.postgresql import outages
from workers import cleanup, diagnostics
from workers.gameday.drill import OPEN, Drill, Options, Scenario, Skipped, end_open_tasks
from workers.gameday.polling import TimedOut, all_finished, published_by, wait_for
from workers.gameday.report import Report
from workers.process.guardian import STOP_SIGNALS

SETTLE_SEC = 60.0


def run(scenario: Scenario, options: Options) -> Report:
    """Run one scenario; whatever fails in it is in the report. Only a request to stop is raised."""
    report = Report(name=scenario.name, title=scenario.title)
    if scenario.servers and not options.servers:
        report.skipped = "it stops servers, and these are not its own"
        return report
    diagnostics.register_all()
    start = time.monotonic()
    drill = Drill(options, report)
    try:
        scenario.run(drill)
        check_all_tasks(drill)
    except Skipped as reason:
        report.skipped = str(reason)
    except TimedOut as error:
        report.expect("everything happened in time", False, error)
    except Exception as error:
        report.expect("the scenario ran to its end", False, f"{type(error).__name__}: {error}")
        report.notes.append(traceback.format_exc())
    finally:
        with _signals_ignored():
            _clear_away(drill)
        report.wall_sec = round(time.monotonic() - start, 1)
    return report


def _clear_away(drill: Drill) -> None:
    try:
        drill.cancel_open_tasks()
        drill.processes.end()
        end_open_tasks(drill.options.queue_name)
        drill.processes.mark_stopped()
    except Error as error:
        if not outages.is_outage(error):
            raise
        connection.close()
        drill.report.notes.append(f"rows could not be cleared away: {error}")
    finally:
        drill.close(keep=not drill.report.passed)


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """Let no second Ctrl-C interrupt the clearing away."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_all_tasks(drill: Drill, limit_sec: float = SETTLE_SEC) -> None:
    """Wait for the last task to end, then check that each ended once and that no refused attempt left a product."""
    report, task_ids = drill.report, drill.task_ids
    try:
        all_finished(task_ids, limit_sec)
    except TimedOut as error:
        report.expect("every accepted task ends", False, error)
    statuses = Counter(Task.objects.filter(task_id__in=task_ids).values_list("status", flat=True))
    report.accepted = len(task_ids)
    report.ended = {status: n for status, n in sorted(statuses.items()) if status in FINISHED}
    report.expect("every accepted task has ended", sum(report.ended.values()) == len(task_ids), dict(statuses))
    report.ended_twice = _ended_twice(drill)
    report.expect("no task has ended twice", report.ended_twice == 0, report.ended_twice)
    # A worker that was killed between renaming an output and the commit has left it to this sweep, an hour later.
    doomed = cleanup.sweep(drill.data, old_after_sec=0.0, kept=0)
    wait_for("the end of what the sweep removes", lambda: not any(directory.exists() for directory in doomed))
    refused = _refused_products(drill)
    report.refused_products = len(refused)
    report.expect("no product of a refused attempt", not refused, refused)
    done = Task.objects.filter(task_id__in=task_ids, status="completed", task_name="echo")
    paths = [path for result in done.values_list("result", flat=True) for path in (result or {}).get("paths", [])]
    missing = [path for path in paths if not Path(path).is_file()]
    report.expect("every product of a completed task is there", not missing, missing)
    report.expect("each claim is one attempt that has ended", *_attempts_match(drill))
    report.events = drill.count_events()


def _ended_twice(drill: Drill) -> int:
    """Count the tasks with more than one event of an end, or more than one completed attempt."""
    endings = Q(to_status__in=FINISHED) & ~Q(from_status__in=FINISHED)
    events = TaskEvent.objects.filter(endings, task_id__in=drill.task_ids)
    completed = Attempt.objects.filter(task_id__in=drill.task_ids, outcome="completed")
    twice: set[object] = set()
    for rows in (events, completed):
        counted = rows.values("task_id").annotate(n=Count("id")).filter(n__gt=1)
        twice |= set(counted.values_list("task_id", flat=True))
    return len(twice)


def _refused_products(drill: Drill) -> list[str]:
    refused = Attempt.objects.filter(task_id__in=drill.task_ids).exclude(outcome="completed")
    tokens = refused.values_list("claim_token", flat=True)
    return [str(path) for token in tokens for path in published_by(drill.data, token)]


def _attempts_match(drill: Drill) -> tuple[bool, str]:
    claims = TaskEvent.objects.filter(task_id__in=drill.task_ids, event_type="claimed").count()
    made = Attempt.objects.filter(task_id__in=drill.task_ids)
    open_ones = made.filter(Q(ended_at=None) | Q(outcome="")).count()
    return claims == made.count() and not open_ones, f"{claims} claims, {made.count()} attempts, {open_ones} open"


def refusal(options: Options) -> str:
    """Return why no drill may run on this queue, or nothing; what a killed drill has left there is ended first."""
    name = options.queue_name
    if name == settings.ABSURD_QUEUE_NAME:
        return f"{name!r} is the main queue; a drill needs a queue of its own: --queue-name gameday"
    up = [report.worker for report in recent_workers() if report.state in ("active", "idle")]
    serving = [worker.label for worker in up if name in worker.queues]
    if serving:
        return f"worker {serving[0]} serves queue {name!r}: a drill needs a queue that no other worker serves"
    end_open_tasks(name)
    open_tasks = Task.objects.filter(queue_id=name, status__in=OPEN).count()
    if open_tasks:
        return f"queue {name!r} has {open_tasks} open tasks of others: cancel them or name another queue"
    if Queue.objects.filter(name=name).exclude(paused_at=None).exists():
        return f"queue {name!r} is paused: resume it first"
    if Freeze.objects.exists():
        return "the system is frozen and no task would be claimed: absurd_thaw first"
    return ""
