"""Faults that are reported until they are repaired or an operator acknowledges them.

Lost workers, crash loops, failed and quarantined tasks, stalled runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

from django.conf import settings
from django.db import connection
from django.utils.module_loading import autodiscover_modules

from tasks_app import formats, supervised
from tasks_app.models import Acknowledgement, Attempt, Run, Task, TaskStatus, Worker
from tasks_app.models.querysets import short_id
from tasks_app.monitoring.health.checks import Check, Subject, listed, ok, threshold, warn
from tasks_app.monitoring.workers import has_name, replaces
from tasks_app.postgresql import clock
from tasks_app.workflows.state import states_of

NAMED = 5
"""How many workers, tasks or runs a message names."""
COUNTED_MOST = 1000
RUNS_MOST = 200
RETURNED_WITHIN = timedelta(minutes=10)
LOOP_WITHIN = timedelta(minutes=15)
LOOP_CRASHES = 3
_LOOP = formats.roughly(LOOP_WITHIN.total_seconds())
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")

_BLOCKED_RUNS = """
SELECT DISTINCT child.run_id
FROM tasks_app_task AS child
JOIN tasks_app_taskdependency AS edge ON edge.child_task_id = child.task_id
JOIN tasks_app_task AS parent ON parent.task_id = edge.parent_task_id AND parent.status IN ('failed', 'cancelled')
WHERE child.status = 'pending' AND child.hold IN (2, 3, 6, 7) AND child.queue_name = %s
    AND child.run_id IS NOT NULL AND parent.completed_at > %s
LIMIT %s
"""


def lost_workers(queue: str) -> Check:
    """Check for workers that stopped reporting without ending and have not come back."""
    since = acknowledged_at("lost workers")
    lost = [worker for worker in _silent(queue) if worker.heartbeat_at > since and not _is_back(worker)]
    return report(
        "lost workers",
        [Subject(kind="worker", key=str(worker.pk), message=_lost(worker)) for worker in lost],
        no_fault="Every worker that has not stopped reports",
        remedy="check its host, read its log, and start it again",
    )


def crash_loops(queue: str) -> Check:
    """Check for workers, and processes of this host's supervisor, that crash repeatedly."""
    since = max(acknowledged_at("crash loops"), clock.now() - LOOP_WITHIN)
    crashes = Counter((w.label if has_name(w) else "", w.host) for w in _silent(queue) if w.started_at > since)
    loops = [
        f"{label or 'a worker'} on {host} has crashed {count} times within {_LOOP}"
        for (label, host), count in crashes.items()
        if count >= LOOP_CRASHES
    ]
    loops += _supervised_loops(since)
    return report("crash loops", loops, no_fault="No process crashes repeatedly", remedy="read its log")


def _supervised_loops(since: datetime) -> Iterable[str]:
    """Yield the processes of `make up` on this host that ended repeatedly, also workers that never registered."""
    ends = list(supervised.ends_since(settings.ABSURD_VAR, since.timestamp()))
    for name, count in Counter(end.name for end in ends).items():
        if count >= LOOP_CRASHES:
            last = [end.how for end in ends if end.name == name][-1]
            yield f"{name} has ended {count} times within {_LOOP}, last with {last}"


def failures(queue: str) -> Check:
    """Check for failures of the last hour, without quarantined tasks and those that failed because of another task."""
    since = max(acknowledged_at("failures"), clock.now() - timedelta(hours=1))
    failed = Task.objects.in_queue(queue).filter(status=TaskStatus.FAILED, completed_at__gt=since)
    causes = failed.filter(unrunnable_because=None, quarantined_at=None).values_list("task_name", "failure_class")
    counted = Counter(causes[:COUNTED_MOST])
    found, most = counted.total(), threshold("failures_warn")
    listed = ", ".join(f"{count} {name} ({kind or 'error'})" for (name, kind), count in counted.most_common(NAMED))
    message = f"{found} tasks failed within the last hour: {listed}"
    return report(
        "failures",
        [Subject(kind="tasks", key="status=failed&since=1h", message=message)] if found > most else [],
        no_fault=message if found else "No task failed within the last hour",
        remedy="read the errors (manage.py absurd_tasks list --status failed), remove the cause, retry",
        value=found,
        threshold=most,
    )


def quarantine(queue: str) -> Check:
    """Check for tasks that are quarantined because their attempts crashed repeatedly."""
    held = Task.objects.in_queue(queue).filter(
        status=TaskStatus.FAILED, quarantined_at__gt=acknowledged_at("quarantine")
    )
    tasks = list(held.order_by("quarantined_at").values_list("task_name", "task_id")[:COUNTED_MOST])
    return report(
        "quarantine",
        [
            Subject(kind="task", key=str(task_id), message=f"{name} {short_id(task_id)} is quarantined")
            for name, task_id in tasks
        ],
        no_fault="No task is quarantined",
        remedy="read the log of the last attempt, remove the cause, retry or cancel",
    )


def stalled_runs(queue: str) -> Check:
    """Check for runs that wait for tasks that failed or were cancelled."""
    with connection.cursor() as cursor:
        cursor.execute(_BLOCKED_RUNS, [queue, acknowledged_at("stalled runs"), RUNS_MOST])
        keys = [key for (key,) in cursor.fetchall()]
    runs = list(Run.objects.filter(pk__in=keys))
    states = states_of(runs)
    stalled = [run for run in runs if states[run.run_id].word == "stalled"]
    return report(
        "stalled runs",
        [
            Subject(
                kind="run",
                key=str(run.pk),
                message=f"run {run.label or run.run_id} is stalled ({states[run.run_id].reason})",
            )
            for run in stalled
        ],
        no_fault="No run is stalled",
        remedy="retry the failed tasks, or cancel the run",
    )


_CHECKS: dict[str, Callable[[str], Check]] = {
    "lost workers": lost_workers,
    "crash loops": crash_loops,
    "failures": failures,
    "quarantine": quarantine,
    "stalled runs": stalled_runs,
}


def add(name: str, check: Callable[[str], Check]) -> None:
    """Add a check whose faults an operator may acknowledge. It takes the queue, and is named in lower-case words."""
    _CHECKS[name] = check


def checks() -> dict[str, Callable[[str], Check]]:
    """Return the checks by name: ours, and what modules `faults` of the other applications have added.

    Those are imported by the first call, because a process that only enqueues has not the packages that health needs.
    """
    _load_other()
    return _CHECKS


@cache
def _load_other() -> None:
    autodiscover_modules("faults")


def findings() -> list[str]:
    """Return what may be acknowledged, as commands and addresses name it."""
    return [name.replace(" ", "-") for name in checks()]


def report(
    name: str,
    faults: Iterable[str | Subject],
    *,
    no_fault: str,
    remedy: str,
    value: float | None = None,
    threshold: float = 0,
) -> Check:
    """Return the result of a check that found these faults, each a sentence or a row that has it."""
    found = list(faults)
    value = len(found) if value is None else value
    if not found:
        seen = Acknowledgement.objects.filter(finding=name).first()
        if seen is None:
            return ok(no_fault, value, threshold)
        until = f"until {clock.stamp(seen.acknowledged_at.replace(microsecond=0))}"
        by = f"{name} {until} by {seen.acknowledged_by} ({seen.reason})"
        return replace(ok(f"{no_fault}; faults {until} are acknowledged", value, threshold), acknowledged=by)
    subjects = tuple(each for each in found[:NAMED] if isinstance(each, Subject))
    fault = warn(listed(found, NAMED, "; "), remedy, value, threshold)
    return replace(fault, subjects=subjects, finding=name.replace(" ", "-"))


def acknowledged_at(finding: str) -> datetime:
    """Return until when the faults of a check are acknowledged."""
    found = Acknowledgement.objects.filter(finding=finding).first()
    return EPOCH if found is None else found.acknowledged_at


def _silent(queue: str) -> list[Worker]:
    silent = Worker.objects.filter(stopped_at=None).serving(queue).exclude(pk__in=Worker.objects.live())
    return list(silent.order_by("-heartbeat_at")[:COUNTED_MOST])


def _is_back(lost: Worker) -> bool:
    """Return whether a later worker replaced a lost one."""
    later = Worker.objects.filter(host=lost.host, started_at__gt=lost.started_at, heartbeat_at__gt=lost.heartbeat_at)
    live = set(Worker.objects.live().values_list("pk", flat=True))
    return any((w.stopped_at is not None or w.pk in live) and replaces(w, lost) for w in later)


def _lost(worker: Worker) -> str:
    silent_sec = (clock.now() - worker.heartbeat_at).total_seconds()
    returned = Attempt.objects.filter(
        worker=worker,
        outcome="lost",
        ended_at__gte=worker.heartbeat_at,
        ended_at__lt=worker.heartbeat_at + RETURNED_WITHIN,
    ).count()
    held = Task.objects.filter(worker=worker, status=TaskStatus.CLAIMED).count()
    tasks = f"returned to the queue: {formats.count(returned, 'task')}"
    tasks += f", still claimed: {held}" if held else ""
    at = clock.stamp(worker.heartbeat_at.replace(microsecond=0))
    return (
        f"worker {worker} (pid {worker.pid}) has not reported since {at}, {formats.duration(silent_sec)} ago; {tasks}"
    )
