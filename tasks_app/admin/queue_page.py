"""What the page of a queue shows: what is in it, how fast it moves, what failed, and who works on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models.functions import Left
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from tasks_app.admin import charts, display, task_states
from tasks_app.admin.control_room import Figure, day_charts
from tasks_app.admin.pages import Panel, read_panels
from tasks_app.models import Limit, Queue, Task, TaskStatus
from tasks_app.monitoring import history, rates
from tasks_app.monitoring.metrics import CachedValue
from tasks_app.monitoring.queues import oldest_pending_sec
from tasks_app.monitoring.rates import Percentiles
from tasks_app.monitoring.workers import SHOWN_MOST, WorkerReport, recent, report_on_claims, sorted_reports
from tasks_app.validation import PRIORITY_LEAST, PRIORITY_MOST

PENDING_READ = 10_000
FAILURES_SHOWN = 10
DURATIONS_KEPT_SEC = 15.0
STEPS_AN_HOUR = 4
STATES = (
    ("claimable", "may be claimed now"),
    ("waiting", "wait for other tasks"),
    ("scheduled", "their time has not come"),
    ("retrying", "wait for their next attempt"),
    ("limited", "wait for a slot of a limit"),
    ("claimed", "run"),
    ("stalled", "run without a sign of life"),
    ("failed", "have failed"),
    ("completed", "have completed"),
    ("cancelled", "were cancelled"),
)


@dataclass(frozen=True, kw_only=True)
class Durations:
    """Of the tasks of a queue that ended lately."""

    wait_sec: Percentiles
    run_sec: Percentiles
    over_sec: float


_windows = CachedValue(lambda: (rates.finished(), rates.attempts()), keep_sec=DURATIONS_KEPT_SEC)


def snapshot(request: HttpRequest, queue: Queue) -> dict[str, Any]:
    """Return all that the page shows; a panel that cannot be read does not take the others along."""
    name = queue.name
    panels = read_panels(
        {
            "states": lambda: task_states.counts([name]),
            "oldest": lambda: oldest_pending_sec(name),
            "day": lambda: history.last_day(queue=name),
            "durations": lambda: _durations(name),
            "priorities": lambda: _priorities(name),
            "failures": lambda: _failures(name),
            "limit": lambda: Limit.objects.filter(scope=Limit.Scope.QUEUE, name=name).first(),
            "workers": lambda: _workers(name),
        }
    )
    steps: list[history.Step] = panels["day"].value or []
    return {
        "panels": panels,
        "states": _states(name, panels["states"]),
        "figures": _figures(panels, steps),
        "day": day_charts(steps),
        "may_pause": request.user.has_perm("tasks_app.pause_queue"),
    }


def _states(name: str, panel: Panel[dict[str, str]]) -> list[tuple[str, str, str, str]]:
    """Return each state with its number, its meaning and the list of its tasks."""
    found = panel.value or {}
    tasks = reverse("admin:tasks_app_task_changelist")
    return [
        (state, found[state], words, f"{tasks}?{urlencode({'queue': name, 'status': state})}")
        for state, words in STATES
        if state in found
    ]


def _figures(panels: dict[str, Panel[Any]], steps: Sequence[history.Step]) -> list[Figure]:
    hour = steps[-STEPS_AN_HOUR:]
    durations: Durations | None = panels["durations"].value
    measured = (durations.wait_sec, durations.run_sec) if durations else (Percentiles(), Percentiles())
    return [
        Figure(label="oldest claimable has waited", value=display.duration(panels["oldest"].value)),
        Figure(label="in, last hour", value=f"{sum(step.spawned for step in hour):,}" if steps else display.NOTHING),
        Figure(
            label="out, last hour",
            value=f"{sum(step.completed + step.failed for step in hour):,}" if steps else display.NOTHING,
        ),
        *(
            Figure(label=f"{name}, median / 95 %", value=f"{display.duration(of.p50)} / {display.duration(of.p95)}")
            for name, of in zip(("wait", "run"), measured, strict=True)
        ),
    ]


def _durations(name: str) -> Durations:
    finished, attempts = _windows.get()
    return Durations(
        wait_sec=finished.by_queue.get(name, rates.Finished()).wait_sec,
        run_sec=attempts.by_queue.get(name, rates.Attempts()).run_sec,
        over_sec=min(finished.over_sec, attempts.over_sec),
    )


def _priorities(name: str) -> charts.XYChart:
    """Return the oldest pending tasks, PENDING_READ at most, by priority."""
    oldest = Task.objects.filter(queue_id=name, status=TaskStatus.PENDING).order_by("id")
    counted = Counter(oldest.values_list("priority", flat=True)[:PENDING_READ])
    everything = range(PRIORITY_LEAST, PRIORITY_MOST + 1)
    return charts.XYChart(
        name="priorities",
        title="Pending tasks by priority",
        size="small",
        x=charts.Axis(label="priority", kind="category", categories=[str(each) for each in everything]),
        y=charts.Axis(label="tasks", low=0, whole=True),
        series=[
            charts.Series(
                name="pending",
                mark="bar",
                tone="busy",
                points=[(at, counted[each]) for at, each in enumerate(everything)] if counted else [],
            )
        ],
    )


def _failures(name: str) -> list[Task]:
    since = timezone.now() - timedelta(days=1)
    failed = Task.objects.filter(queue_id=name, status=TaskStatus.FAILED, completed_at__gt=since)
    light = failed.defer("result", "params", "error", "bindings").annotate(
        error_head=Left("error", display.ERROR_CHARS + 40)
    )
    return list(light.order_by("-completed_at")[:FAILURES_SHOWN])


def _workers(name: str) -> list[WorkerReport]:
    """Return the workers that claim from the queue and have not stopped."""
    now = timezone.now()
    serving = [worker for worker in recent(now)[:SHOWN_MOST] if name in worker.queues]
    claimed = Task.objects.filter(worker__in=serving, status=TaskStatus.CLAIMED).only(
        "task_id", "task_name", "worker_id"
    )
    reports = report_on_claims(serving, list(claimed) if serving else [], now)
    return [report for report in sorted_reports(reports) if report.state != "stopped"]
