"""The tasks that one waits for and that wait for it, wherever they are kept."""

from __future__ import annotations

from typing import Any

from tasks_app.models import ArchivedTask, Task, TaskDependency


def of(task: Task) -> dict[str, list[Any]]:
    """Return the parents and the children of a task, the earliest first."""
    parents = TaskDependency.objects.filter(child_task_id=task.task_id).values("parent_task_id")
    children = TaskDependency.objects.filter(parent_task_id=task.task_id).values("child_task_id")
    return {"parents": _named(parents), "children": _named(children)}


def _named(task_ids: Any) -> list[Any]:
    live = Task.objects.filter(task_id__in=task_ids).defer("result", "params")
    archived = list(ArchivedTask.objects.filter(task_id__in=task_ids).defer("task", "attempts", "events"))
    for row in archived:
        row.display_status = row.status  # type: ignore[attr-defined]
    return sorted([*live, *archived], key=lambda each: int(each.pk))
