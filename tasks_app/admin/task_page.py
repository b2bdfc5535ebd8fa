"""What the page of a task shows of it, whether it is in the queue or in the archive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from tasks_app.admin import panels
from tasks_app.admin.charts import Axis, Interval, Lanes, Series, Threshold, Tone, XYChart
from tasks_app.admin.commands import body_of, commands
from tasks_app.models import ArchivedTask, Attempt, Task, TaskDependency, TaskEvent
from tasks_app.monitoring import usage
from tasks_app.monitoring.time_left import estimate
from tasks_app.monitoring.usage import Point
from tasks_app.postgresql import clock

EVENTS_SHOWN = 200
LANES_SHOWN = 30


def context_of(
    request: HttpRequest, task: Task, attempts: Sequence[Attempt], events: Sequence[TaskEvent]
) -> dict[str, Any]:
    """Return what the page shows; attempts and events come the newest first, one event more than are shown if any."""
    return {
        "title": str(task),
        "task": task,
        "attempts": attempts,
        "outcomes": Counter(attempt.outcome or "running" for attempt in attempts).most_common(),
        "estimate": estimate(task, timezone.now()),
        "lanes": lanes(task, attempts),
        "usage": usage_charts(request, task, attempts),
        "n_measured": sum(bool(each.usage_series) for each in attempts),
        "events": events[:EVENTS_SHOWN],
        "more_events": len(events) > EVENTS_SHOWN,
        "with_progress": wants_progress(request),
        **relatives_of(task),
        "panels": panels.of(task),
        "api_path": f"/api/absurd/tasks/{task.task_id}",
        "commands": commands(request, "tasks", body_of(task)),
    }


def wants_progress(request: HttpRequest) -> bool:
    """Return whether events of progress are shown too."""
    return request.GET.get("progress") == "1"


def events_of(request: HttpRequest, task: Task) -> list[TaskEvent]:
    """Return the last events, the newest first, one more than are shown; progress only where it is asked for."""
    events = TaskEvent.objects.filter(task_id=task.task_id)
    if not wants_progress(request):
        events = events.exclude(event_type="progress")
    return list(events.order_by("-id")[: EVENTS_SHOWN + 1])


def attempts_of(task: Task) -> list[Attempt]:
    """Return the attempts, the newest first."""
    if not task.claim_epoch:
        return []
    return list(Attempt.objects.filter(task_id=task.task_id).select_related("worker").order_by("-number"))


def lanes(task: Task, attempts: Sequence[Attempt]) -> Lanes:
    """Return a lane for each of the last attempts: how long it waited before, and how long it ran."""
    shown = sorted(attempts, key=lambda each: each.number)[-LANES_SHOWN:]
    intervals: list[Interval] = []
    since = task.created_at if len(shown) == len(attempts) else None
    for lane, attempt in enumerate(shown):
        found, since = attempt_intervals(lane, [attempt], since)
        intervals += found
    names = [f"attempt {attempt.number}" for attempt in shown]
    return Lanes(name="attempts", title="Attempts and the waits before them", lanes=names, intervals=intervals)


def usage_charts(request: HttpRequest, task: Task, attempts: Sequence[Attempt]) -> list[XYChart]:
    """Return memory and processor over the life of the attempt that the address names, else of the last measured."""
    wanted = request.GET.get("attempt", "")
    chosen = [each for each in attempts if str(each.number) == wanted] or [
        each for each in attempts if each.usage_series
    ]
    attempt = (chosen or list(attempts))[:1]
    points = [point for each in attempt for point in usage.points_of(each.usage_series)]
    of = f" of attempt {attempt[0].number}" if attempt else ""

    def chart(name: str, title: str, y: Axis, values: Sequence[float], most: Threshold) -> XYChart:
        moments = [1000 * (attempt[0].started_at.timestamp() + point.at_sec) for point in points]
        series = Series(name=y.label, points=list(zip(moments, values, strict=True)), mark="area")
        x = Axis(label="time", unit="UTC", kind="time")
        return XYChart(name=name, title=title + of, x=x, y=y, series=[series], thresholds=[most], size="small")

    before = [Point(at_sec=0, rss_mb=0, cpu_ds=0), *points]
    busy = [(new.cpu_ds - old.cpu_ds) / 10 / (new.at_sec - old.at_sec) for old, new in pairwise(before)]
    memory, cores = Axis(label="memory", unit="GB", low=0), Axis(label="processor", unit="cores", low=0)
    declared = [
        Threshold(axis="y", value=most, label=f"declared {most:g}") for most in (task.memory_gb, float(task.cores))
    ]
    return [
        chart("memory", "Memory", memory, [point.rss_mb / 1000 for point in points], declared[0]),
        chart("processor", "Processor", cores, busy, declared[1]),
    ]


def attempt_intervals(
    lane: int, attempts: Sequence[Attempt], since: datetime | None, link: str = ""
) -> tuple[list[Interval], datetime | None]:
    """Return the attempts in one lane with the waits before them, and when the last one ended.

    The first wait begins at `since`; without that it is left out.
    """
    found = []
    for attempt in attempts:
        if since is not None:
            found.append(interval(lane, since, attempt.started_at, "waited", "wait", link))
        outcome = attempt.outcome or "running"
        found.append(interval(lane, attempt.started_at, attempt.ended_at, outcome, tone_of(outcome), link))
        since = attempt.ended_at
    return found, since


def interval(lane: int, start: datetime, end: datetime | None, label: str, tone: Tone, link: str = "") -> Interval:
    """Return a bar that goes on until now where it has no end."""
    ended = clock.stamp(end or timezone.now())
    return Interval(lane=lane, start=clock.stamp(start), end=ended, label=label, tone=tone, link=link)


def tone_of(outcome: str) -> Tone:
    """Return the colour of an attempt's outcome."""
    if outcome in ("running", "completed"):
        return "busy" if outcome == "running" else "ok"
    return "warn" if outcome in ("cancelled", "drained", "unavailable", "no_work") else "bad"


def relatives_of(task: Task) -> dict[str, list[Any]]:
    """Return the tasks that it waits for and those that wait for it, wherever they are kept, the earliest first."""
    edges = TaskDependency.objects.filter(child_task_id=task.task_id).values_list("parent_task_id", "child_task_id")
    edges = edges.union(
        TaskDependency.objects.filter(parent_task_id=task.task_id).values_list("parent_task_id", "child_task_id")
    )
    pairs = list(edges)
    ids = {each for pair in pairs for each in pair} - {task.task_id}
    known: dict[Any, Any] = {}
    if ids:
        known = {row.task_id: row for row in Task.objects.filter(task_id__in=ids).defer("result", "params")}
    if ids - known.keys():
        for row in ArchivedTask.objects.filter(task_id__in=ids - known.keys()).defer("task", "attempts", "events"):
            row.display_status = row.status  # type: ignore[attr-defined]
            known[row.task_id] = row
    parents = [known[parent] for parent, child in pairs if child == task.task_id and parent in known]
    children = [known[child] for parent, child in pairs if parent == task.task_id and child in known]
    return {"parents": sorted(parents, key=_key), "children": sorted(children, key=_key)}


def _key(row: Any) -> int:
    return int(row.pk)
