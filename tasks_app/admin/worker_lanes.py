"""What the slots of a worker did in the last hours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.urls import reverse
from django.utils import timezone

from tasks_app.admin.charts import Lanes
from tasks_app.admin.task_page import interval, tone_of
from tasks_app.models import Attempt, Task, Worker

HOURS = 6
ENDED_READ = 5000
"""Attempts of all workers that are looked through: there is no index of those of one worker."""
SHOWN_MOST = 500


def slots_of(worker: Worker, running: Sequence[Attempt]) -> Lanes:
    """Return a lane for each slot that was used, with the worker's attempts of the last HOURS hours."""
    since = timezone.now() - timedelta(hours=HOURS)
    ended = Attempt.objects.filter(ended_at__gt=since).order_by("-ended_at")[:ENDED_READ].values("pk")
    light = Attempt.objects.only("task_id", "number", "started_at", "ended_at", "outcome")
    mine = list(light.filter(worker=worker, pk__in=ended).order_by("-ended_at")[:SHOWN_MOST])
    attempts = sorted([*mine, *running], key=lambda attempt: attempt.started_at)
    ids = {attempt.task_id for attempt in attempts}
    names = dict(Task.objects.filter(task_id__in=ids).values_list("task_id", "task_name"))
    free_from: list[datetime | None] = []
    intervals = []
    for attempt in attempts:
        lane = _free_lane(free_from, attempt.started_at)
        free_from[lane] = attempt.ended_at
        outcome = attempt.outcome or "running"
        start, link = max(attempt.started_at, since), reverse("admin:tasks_app_task_change", args=[attempt.task_id])
        label = f"{_name(names, attempt.task_id)}, attempt {attempt.number}: {outcome}"
        intervals.append(interval(lane, start, attempt.ended_at, label, tone_of(outcome), link))
    lanes = [f"slot {lane + 1}" for lane in range(len(free_from))]
    return Lanes(name="slots", title=f"Slots in the last {HOURS} hours, UTC", lanes=lanes, intervals=intervals)


def _name(names: dict[UUID, str], task_id: UUID) -> str:
    return names.get(task_id, "an archived task")


def _free_lane(free_from: list[datetime | None], moment: datetime) -> int:
    """Return the first lane that is free at the moment, a new one where none is."""
    for lane, free in enumerate(free_from):
        if free is not None and free <= moment:
            return lane
    free_from.append(None)
    return len(free_from) - 1
