"""What a task's end means for the tasks that wait for it. Finds and locks rows; changes none.

Children are locked in the order of their task ids, and their state is worked out from the edges, so that two parents
which finish at the same moment release their child exactly once.
"""

from __future__ import annotations

from uuid import UUID

from tasks_app.models import Hold, Task, TaskDependency, TaskStatus


def lock_waiting_children(task_id: UUID) -> list[Task]:
    """Lock and return the pending children that a dependency holds back."""
    children = TaskDependency.objects.filter(parent_task_id=task_id).values("child_task_id")
    pending = Task.objects.filter(task_id__in=children, status=TaskStatus.PENDING)
    return [child for child in pending.select_for_update().order_by("task_id") if child.hold & Hold.DEPENDENCY]


def lock_unrunnable_children(task_id: UUID, because: UUID) -> list[Task]:
    """Lock and return the children that failed only because the ancestor `because` did."""
    children = TaskDependency.objects.filter(parent_task_id=task_id).values("child_task_id")
    failed = Task.objects.filter(task_id__in=children, status=TaskStatus.FAILED, unrunnable_because=because)
    return list(failed.select_for_update().order_by("task_id"))


def lock_parents(task_ids: list[UUID]) -> dict[UUID, Task]:
    """Lock the would-be parents against finishing unseen, and return those that exist by task id."""
    ordered = Task.objects.filter(task_id__in=task_ids).order_by("task_id")
    return {task.task_id: task for task in ordered.select_for_update(no_key=True)}


def is_satisfied(child_task_id: UUID) -> bool:
    """Whether every parent of the child has completed."""
    parents = TaskDependency.objects.filter(child_task_id=child_task_id).values("parent_task_id")
    return not Task.objects.filter(task_id__in=parents).exclude(status=TaskStatus.COMPLETED).exists()


def satisfied_but_held() -> list[Task]:
    """Lock and return pending tasks whose dependency hold has outlived its reason."""
    waiting = Task.objects.pending_with_hold(Hold.DEPENDENCY)
    unfinished = Task.objects.exclude(status=TaskStatus.COMPLETED).values("task_id")
    blocked = TaskDependency.objects.filter(parent_task_id__in=unfinished).values("child_task_id")
    return list(waiting.exclude(task_id__in=blocked).select_for_update(skip_locked=True).order_by("task_id")[:500])
