"""The first page: what needs attention, figures, running tasks, failures by cause, queues, the last day, workers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models.functions import Left
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from tasks_app import formats
from tasks_app.admin import attention, charts, display
from tasks_app.admin.pages import Panel, read_panels
from tasks_app.models import Queue, Task, TaskStatus
from tasks_app.monitoring import history
from tasks_app.monitoring.health import Health
from tasks_app.monitoring.metrics import CachedValue
from tasks_app.monitoring.queues import oldest_pending, queue_stats
from tasks_app.monitoring.workers import (
    LIVE_STATES,
    SHOWN_MOST,
    WorkerReport,
    recent,
    replaced,
    report_on_claims,
    sorted_reports,
    state_of,
)
from tasks_app.postgresql import clock

RUNNING_SHOWN = 50
CLAIMED_READ = 300
CAUSES_SHOWN = 8
FAILURES_READ = 1000
FAILURE_READ = (
    "task_id", "task_name", "status", "quarantined_at", "failure_class", "unrunnable_because", "completed_at",
)  # fmt: skip
HISTORY_KEPT_SEC = 15.0


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number with its unit in the strip at the top, and the page behind it."""

    label: str
    value: str
    address: str = ""
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page that another application brings."""

    name: str
    title: str
    template: str
    read: Callable[[], Any]
    permission: str


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Failures of the last day that have the same task name, class and error, numbers apart."""

    latest: Task
    count: int


_sections: list[Section] = []
_figures: dict[str, Callable[[Any], list[Figure]]] = {}
_history = CachedValue(history.last_day, keep_sec=HISTORY_KEPT_SEC)


def add_section(section: Section, figures: Callable[[Any], list[Figure]] | None = None) -> None:
    """Show the section in the control room, and in the strip the figures made from what it has read."""
    _sections.append(section)
    if figures is not None:
        _figures[section.name] = figures


def snapshot(request: HttpRequest, health: Health) -> dict[str, Any]:
    """Return all that the page shows; a panel that cannot be read does not take the others along."""
    mine = [section for section in _sections if request.user.has_perm(section.permission)]
    panels = read_panels(
        {
            "queues": _queues,
            "claimed": _claimed,
            "failed": _failed,
            "workers": lambda: list(recent(timezone.now())[:SHOWN_MOST]),
            "day": _history.get,
            **{section.name: section.read for section in mine},
        }
    )
    claimed: Panel[list[Task]] = panels["claimed"]
    reports = sorted_reports(report_on_claims(panels["workers"].value or [], claimed.value or [], timezone.now()))
    groups = attention.groups(health, request.user)
    gone = replaced(panels["workers"].value or [], timezone.now())
    gone |= {report.worker.pk for report in reports if report.state == "stopped"}
    return {
        "health": health,
        "attention": groups,
        "n_faults": sum(group.count for group in groups),
        "acknowledged": [check.acknowledged for check in health.checks if check.acknowledged],
        "figures": _strip(panels, reports, health)
        + [f for name in _figures for f in _figures[name](panels[name].value) if name in panels],
        "queues": panels["queues"],
        "running": replace(claimed, value=(claimed.value or [])[:RUNNING_SHOWN]),
        "stalled": replace(claimed, value=_stalled(claimed.value or [])),
        "causes": replace(panels["failed"], value=_causes(panels["failed"].value or [])),
        "workers": replace(panels["workers"], value=[each for each in reports if each.worker.pk not in gone]),
        "gone_workers": len(gone),
        "day": replace(panels["day"], value=day_charts(panels["day"].value or [])),
        "sections": [(section, panels[section.name]) for section in mine],
        "may_requeue": request.user.has_perm("tasks_app.requeue_task"),
        "may_pause": request.user.has_perm("tasks_app.pause_queue"),
    }


def _light() -> Any:
    return Task.objects.defer("result", "params", "error", "bindings").select_related("worker")


def _queues() -> list[dict[str, Any]]:
    queues = {queue.name: queue for queue in Queue.objects.all()}
    names = {settings.ABSURD_QUEUE_NAME, *queues}
    counts, oldest_sec = queue_stats(names), oldest_pending(names)
    return [
        {**count, "queue": queues.get(count["queue_name"]), "oldest_sec": oldest_sec.get(count["queue_name"])}
        for count in counts
    ]


def _claimed() -> list[Task]:
    return list(_light().filter(status=TaskStatus.CLAIMED).order_by("id")[:CLAIMED_READ])


def _stalled(claimed: list[Task]) -> list[Task]:
    """Return the claims whose lease has run out or whose worker is silent."""
    moment = timezone.now()
    silent = ("stale", "lost")
    return [
        task
        for task in claimed
        if (task.lease_until and task.lease_until < moment)
        or (task.worker and state_of(task.worker, moment, busy=True) in silent)
    ]


def _failed() -> list[Task]:
    since = timezone.now() - timedelta(days=1)
    failed = Task.objects.filter(status=TaskStatus.FAILED, completed_at__gt=since).order_by("-completed_at")
    return list(failed.only(*FAILURE_READ).annotate(error_head=Left("error", display.ERROR_CHARS + 40))[:FAILURES_READ])


def _causes(failed: list[Task]) -> list[Cause]:
    """Return the failures, those alike together, the newest first.

    Tasks that failed only because another one did are left out: that one is their cause.
    """
    alike: dict[tuple[str, str, str], list[Task]] = {}
    for task in failed:
        if task.unrunnable_because is None:
            error = re.sub(r"\d+", "0", formats.first_line(getattr(task, "error_head", None), display.ERROR_CHARS))
            alike.setdefault((task.task_name, task.failure_class, error), []).append(task)
    return [Cause(latest=tasks[0], count=len(tasks)) for tasks in list(alike.values())[:CAUSES_SHOWN]]


def _strip(panels: dict[str, Panel[Any]], workers: list[WorkerReport], health: Health) -> list[Figure]:
    tasks = reverse("admin:tasks_app_task_changelist")
    queues, failed = panels["queues"].value, panels["failed"].value
    oldest = max((each["oldest_sec"] for each in queues or () if each["oldest_sec"] is not None), default=None)
    live = sum(report.state in LIVE_STATES for report in workers)
    disks = [check for check in health.checks if check.name == "disk" and check.value is not None]
    least = min(disks, key=lambda check: check.value or 0.0, default=None)
    return [
        Figure(label="pending", value=_total(queues, "pending"), address=f"{tasks}?status=pending"),
        Figure(label="claimed", value=_total(queues, "claimed"), address=f"{tasks}?status=claimed"),
        Figure(
            label="failed, 24 h",
            value=display.NOTHING if failed is None else display.bounded(len(failed), FAILURES_READ),
            address=f"{tasks}?status=failed&since=24h",
            tone="bad" if failed else "",
        ),
        Figure(
            label="oldest pending",
            value=display.NOTHING if oldest is None else formats.roughly(oldest),
            address=f"{tasks}?status=pending",
        ),
        Figure(
            label="workers alive",
            value=str(live),
            address=reverse("admin:tasks_app_worker_changelist"),
            tone="" if live else "bad",
        ),
        Figure(
            label="disk free",
            value=display.NOTHING if least is None else f"{least.value:.0%}",
            address=reverse("admin:page_health"),
            tone="bad" if least is not None and least.state != "ok" else "",
        ),
    ]


def _total(queues: list[dict[str, Any]] | None, status: str) -> str:
    return display.NOTHING if queues is None else f"{sum(each[status] for each in queues):,}"


def day_charts(steps: list[history.Step]) -> list[charts.Chart]:
    """Return the charts of depth and throughput over a day."""
    time = charts.Axis(label="UTC", kind="time")
    tasks = charts.Axis(label="tasks", low=0, whole=True)
    at = [clock.stamp(step.start) for step in steps]
    unfinished = list(zip(at, [step.unfinished for step in steps], strict=True))
    completed = list(zip(at, [step.completed for step in steps], strict=True))
    failed = list(zip(at, [step.failed for step in steps], strict=True))
    return [
        charts.XYChart(
            name="depth",
            title="Unfinished tasks, 24 h",
            x=time,
            y=tasks,
            size="small",
            series=[charts.Series(name="unfinished", mark="area", tone="busy", points=unfinished)],
        ),
        charts.XYChart(
            name="throughput",
            title="Finished tasks per 15 min, 24 h",
            x=time,
            y=tasks,
            size="small",
            series=[
                charts.Series(name="completed", mark="bar", tone="ok", stack="ended", points=completed),
                charts.Series(name="failed or cancelled", mark="bar", tone="bad", stack="ended", points=failed),
            ],
        ),
    ]
