"""The edges between new tasks and those they wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING
from uuid import UUID

from tasks_app.engine import archive, dependencies
from tasks_app.errors import ParamsInvalid
from tasks_app.models import Hold, Run, Task, TaskDependency, TaskStatus

if TYPE_CHECKING:
    from tasks_app.engine.options import SpawnRequest


def connect(built: Sequence[tuple[SpawnRequest, Task]]) -> list[Task]:
    """Write the edges and hold back the children, with the parents locked so that none finishes unseen.

    Returns the tasks in the order in which they must be inserted, parents first. Raises ParamsInvalid for unknown
    parents and for circles.
    """
    tasks = {task.task_id: task for _, task in built}
    parents = {task.task_id: _parents_of(request) for request, task in built}
    if not any(parents.values()):
        return list(tasks.values())
    _check_quorums(built, parents)
    outside = {parent for named in parents.values() for parent in named if parent not in tasks}
    statuses = dependencies.lock_parents(outside)
    unknown = sorted(outside - statuses.keys(), key=str)
    if unknown:
        raise ParamsInvalid([{"path": "depends_on", "message": f"there is no task {parent}"} for parent in unknown])
    for task_id, named in parents.items():
        if not _is_joined(tasks[task_id], [statuses.get(parent, TaskStatus.PENDING) for parent in named]):
            tasks[task_id].hold |= Hold.DEPENDENCY
    TaskDependency.objects.bulk_create(
        [
            TaskDependency(child_task_id=child, parent_task_id=parent)
            for child, named in parents.items()
            for parent in named
        ],
        batch_size=5000,
    )
    return [tasks[task_id] for task_id in _parents_first(parents, tasks)]


def _parents_of(request: SpawnRequest) -> list[UUID]:
    """Return every task that the request waits for, once each, in the order named."""
    named = [*request.depends_on, *(parent for binding in request.bindings.values() for parent in binding.parents)]
    if request.depends_on_runs:
        runs = dict(Run.objects.filter(run_id__in=request.depends_on_runs).values_list("run_id", "pk"))
        missing = [run_id for run_id in request.depends_on_runs if run_id not in runs]
        if missing:
            raise ParamsInvalid(
                [{"path": "depends_on_runs", "message": f"there is no run {run_id}"} for run_id in missing]
            )
        named += Task.objects.filter(run__in=runs.values()).order_by("id").values_list("task_id", flat=True)
        named += archive.tasks_of_runs(request.depends_on_runs)
    return list(dict.fromkeys(named))


def _check_quorums(built: Sequence[tuple[SpawnRequest, Task]], parents: Mapping[UUID, Sequence[UUID]]) -> None:
    for _, task in built:
        most = len(parents[task.task_id])
        if task.join_quorum is not None and task.join_quorum > most:
            raise ParamsInvalid([{"path": "join.quorum", "message": f"write at most {most}, it waits for no more"}])


def _is_joined(task: Task, statuses: Sequence[str]) -> bool:
    completed = statuses.count(TaskStatus.COMPLETED)
    unfinished = statuses.count(TaskStatus.PENDING) + statuses.count(TaskStatus.CLAIMED)
    join = dependencies.Join(parents=len(statuses), completed=completed, unfinished=unfinished)
    return join.is_satisfied(task, task.runnable_at)


def _parents_first(parents: Mapping[UUID, Sequence[UUID]], tasks: Mapping[UUID, Task]) -> list[UUID]:
    """Return the tasks of this call so that each stands behind those of them that it waits for.

    Rows are locked in the order of their ids, and whoever finishes a parent goes on to its children.
    """
    sorter: TopologicalSorter[UUID] = TopologicalSorter()
    for child, named in parents.items():
        sorter.add(child, *(parent for parent in named if parent in tasks))
    try:
        return list(sorter.static_order())
    except CycleError as error:
        circle = " → ".join(str(task_id) for task_id in error.args[1])
        raise ParamsInvalid([{"path": "depends_on", "message": f"tasks wait for each other: {circle}"}]) from None
