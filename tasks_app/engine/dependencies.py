"""What a task's end means for the tasks that wait for it. Finds and locks rows; changes none.

Whether a task may stop waiting is worked out from the edges each time, never counted along, so that two parents which
finish at the same moment release their child exactly once. Rows are locked in the order of their ids: parents are
inserted before their children, so everybody who needs both goes the same way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from django.db import connection

from tasks_app.engine import archive
from tasks_app.models import ArchivedTask, Hold, Task, TaskDependency, TaskStatus
from tasks_app.postgresql import clock, statements


@dataclass(frozen=True, kw_only=True)
class Join:
    """How the parents of a waiting task stand."""

    parents: int = 0
    completed: int = 0
    unfinished: int = 0
    """Pending or claimed."""
    invalid: int = 0
    """Failed as invalid, so that nothing but an operator's retry makes them complete."""
    lost: int = 0
    """Archived without success."""
    gone: int = 0
    """Neither among the tasks nor in the archive any more."""

    def is_satisfied(self, quorum: int | None, deadline_at: datetime | None, moment: datetime) -> bool:
        """Whether a task with such a quorum and deadline need not wait any longer at a moment.

        A quorum without a deadline is enough at once; with one, it is enough from then on, or as soon as no parent is
        still to come.
        """
        if self.completed + self.gone == self.parents:
            return True
        if quorum is None or self.completed < quorum:
            return False
        return self.unfinished == 0 or deadline_at is None or deadline_at <= moment

    def is_hopeless(self, task: Task) -> bool:
        """Whether too many parents have failed for good for the task ever to run."""
        needed = self.parents if task.join_quorum is None else min(task.join_quorum, self.parents)
        return self.parents - self.invalid - self.lost < needed


_JOINS = """
SELECT edge.child_task_id, count(*),
    count(*) FILTER (WHERE coalesce(parent.status, archived.status) = 'completed'),
    count(*) FILTER (WHERE parent.status IN ('pending', 'claimed')),
    count(*) FILTER (WHERE parent.status = 'failed' AND parent.failure_class = 'invalid'),
    count(*) FILTER (WHERE archived.status IN ('failed', 'cancelled')),
    count(*) FILTER (WHERE parent.status IS NULL AND archived.status IS NULL)
FROM tasks_app_taskdependency AS edge
LEFT JOIN tasks_app_task AS parent ON parent.task_id = edge.parent_task_id
LEFT JOIN tasks_app_archivedtask AS archived ON archived.task_id = edge.parent_task_id
WHERE edge.child_task_id = ANY(%s)
GROUP BY edge.child_task_id
"""


def joins(child_task_ids: Iterable[UUID]) -> dict[UUID, Join]:
    """Return how the parents of each task stand; a task without parents is left out."""
    with connection.cursor() as cursor:
        cursor.execute(_JOINS, [list(child_task_ids)])
        return {
            child: Join(parents=n, completed=completed, unfinished=unfinished, invalid=invalid, lost=lost, gone=gone)
            for child, n, completed, unfinished, invalid, lost, gone in cursor.fetchall()
        }


def satisfied(children: Collection[Task]) -> list[Task]:
    """Return those of the tasks that need not wait for others (any longer), in the order given."""
    found, moment = joins([child.task_id for child in children]), clock.now()
    return [
        child
        for child in children
        if found.get(child.task_id, Join()).is_satisfied(child.join_quorum, child.join_deadline_at, moment)
    ]


_LOCK_INVALID = """
SELECT edge.child_task_id, parent.id
FROM tasks_app_taskdependency AS edge JOIN tasks_app_task AS parent ON parent.task_id = edge.parent_task_id
WHERE edge.child_task_id = ANY(%(task_ids)s::uuid[]) AND parent.status = 'failed' AND parent.failure_class = 'invalid'
ORDER BY parent.completed_at, parent.id
FOR SHARE OF parent SKIP LOCKED
"""


def hopeless(children: Collection[Task]) -> list[tuple[Task, Task]]:
    """Return those of the tasks that can never run, each with the first of the parents that have failed for good.

    What has failed is locked, so that no retry revives it meanwhile. Where one is under way it does not count: its end,
    or the next sweep, decides.
    """
    found = joins([child.task_id for child in children])
    suspects = [child for child in children if found.get(child.task_id, Join()).is_hopeless(child)]
    if not suspects:
        return []
    invalid: dict[UUID, list[int]] = defaultdict(list)
    for child_id, parent_id in statements.run(_LOCK_INVALID, {"task_ids": [child.task_id for child in suspects]}):
        invalid[child_id].append(parent_id)
    return [
        (child, _first_failed(child, invalid[child.task_id]))
        for child in suspects
        if replace(found[child.task_id], invalid=len(invalid[child.task_id])).is_hopeless(child)
    ]


def _first_failed(child: Task, invalid: Sequence[int]) -> Task:
    parents = TaskDependency.objects.filter(child_task_id=child.task_id).values("parent_task_id")
    parent = Task.objects.get(pk=invalid[0]) if invalid else archive.first_lost(parents)
    assert parent is not None, "one of those that were counted"  # noqa: S101
    return parent


_WITH_CHILDREN = """
SELECT DISTINCT parent_task_id FROM tasks_app_taskdependency WHERE parent_task_id = ANY(%(task_ids)s::uuid[])
"""


def with_children(task_ids: Collection[UUID]) -> list[UUID]:
    """Return those of the locked tasks that others depend on.

    A statement after the one that locked them, so that it sees what the previous holder of the lock wrote.
    """
    return [task_id for (task_id,) in statements.run(_WITH_CHILDREN, {"task_ids": list(task_ids)})]


def lock_waiting_children(task_ids: Collection[UUID]) -> list[Task]:
    """Lock and return the pending children that wait for any of these tasks."""
    children = TaskDependency.objects.filter(parent_task_id__in=task_ids).values("child_task_id")
    pending = Task.objects.filter(task_id__in=children, status=TaskStatus.PENDING)
    locked = pending.select_for_update(of=("self",)).select_related("run").order_by("id")
    return [child for child in locked if child.hold & Hold.DEPENDENCY and child.joined_at is None]


def lock_unrunnable_children(roots: Mapping[UUID, UUID]) -> list[tuple[Task, UUID]]:
    """Lock the children of the tasks that `roots` names which failed only because of the ancestor named with each.

    Return each with the first parent for which that is so.
    """
    parents: dict[UUID, set[UUID]] = {}
    edges = TaskDependency.objects.filter(parent_task_id__in=list(roots))
    for child_id, parent_id in edges.values_list("child_task_id", "parent_task_id"):
        parents.setdefault(child_id, set()).add(parent_id)
    if not parents:
        return []
    failed = Task.objects.filter(
        task_id__in=list(parents), status=TaskStatus.FAILED, unrunnable_because__in=set(roots.values())
    )
    found, places = [], {task_id: place for place, task_id in enumerate(roots)}
    for child in failed.select_for_update(of=("self",)).select_related("run").order_by("id"):
        why = [parent for parent in parents[child.task_id] if roots[parent] == child.unrunnable_because]
        if why:
            found.append((child, min(why, key=places.__getitem__)))
    return found


_LOCK_PARENTS = "SELECT task_id, status FROM tasks_app_task WHERE task_id = ANY(%s) ORDER BY id FOR SHARE"


def lock_parents(task_ids: Collection[UUID]) -> dict[UUID, str]:
    """Lock the would-be parents against finishing unseen, and return the status of those that exist by task id.

    What is in the archive has finished and cannot change.
    """
    if not task_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_PARENTS, [list(task_ids)])
        found: dict[UUID, str] = dict(cursor.fetchall())
    missing = set(task_ids) - set(found)
    if missing:
        found.update(ArchivedTask.objects.filter(task_id__in=missing).values_list("task_id", "status"))
    return found


def lock_waiting(*, after: int, limit: int) -> list[Task]:
    """Lock and return waiting tasks whose id is above `after`, lowest first, leaving out what somebody else has."""
    rows = Task.objects.waiting().filter(id__gt=after).order_by("id")
    return list(rows.select_for_update(skip_locked=True, of=("self",)).select_related("run")[:limit])


def lock_overdue_joins(limit: int) -> list[Task]:
    """Lock and return waiting tasks whose join deadline has passed, leaving out what somebody else has."""
    rows = Task.objects.waiting().filter(join_deadline_at__lte=clock.DatabaseNow()).order_by("join_deadline_at")
    return list(rows.select_for_update(skip_locked=True, of=("self",)).select_related("run")[:limit])
