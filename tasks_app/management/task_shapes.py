"""Tasks as the API shows them, for the commands that write JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tasks_app.engine import archive
from tasks_app.models import Attempt, Task, TaskEvent


def detail_of(task: Task) -> dict[str, Any]:
    """Return the full representation."""
    from tasks_app.api.views.tasks import detail_of as shape_of  # here, because it loads the API's libraries

    return shape_of(task)


def summaries_of(tasks: Iterable[Task]) -> list[dict[str, Any]]:
    """Return tasks as lists show them."""
    from tasks_app.api.serializers import TaskSummarySerializer

    return list(TaskSummarySerializer(tasks, many=True).data)


def histories_of(task: Task, events_most: int) -> tuple[list[Attempt], list[TaskEvent]]:
    """Return the task's attempts and its newest events, both oldest first, also from the archive."""
    if archive.is_archived(task):
        return archive.attempts_of(task.task_id), archive.events_of(task.task_id)[-events_most:]
    attempts = Attempt.objects.filter(task_id=task.task_id).select_related("worker").order_by("number")
    events = TaskEvent.objects.filter(task_id=task.task_id).order_by("-id")[:events_most]
    return list(attempts), list(events)[::-1]


def history_shapes(attempts: list[Attempt], events: list[TaskEvent]) -> dict[str, Any]:
    """Return attempts and events as the API shows them."""
    from tasks_app.api.serializers import AttemptSerializer, EventSerializer

    return {
        "attempts": AttemptSerializer(attempts, many=True).data,
        "events": EventSerializer(events, many=True).data,
    }
