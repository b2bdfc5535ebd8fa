"""The tasks of one run with the edges between them, and why each waiting one waits."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models.functions import Left

from tasks_app.models import ArchivedTask, Run, Task, TaskDependency, TaskStatus
from tasks_app.models.querysets import TaskQuerySet
from tasks_app.postgresql import clock
from tasks_app.workflows.plan import EDGES_MOST, TASKS_MOST
from tasks_app.workflows.state import ERROR_CHARS, SUPERSEDED

WAITING = "waiting"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One task of the run, or one of another that it is wired to."""

    task_id: UUID
    stage: str
    task_name: str
    status: str
    display_status: str
    run_id: UUID | None
    progress: float | None = None
    failure_class: str = ""
    error: str = ""
    created_at: datetime | None = None
    claimed_at: datetime | None = None
    completed_at: datetime | None = None
    duration_sec: float | None = None
    superseded: bool = False
    """Whether a new task supersedes it."""
    is_held: bool = False
    """Whether it waits for other tasks, or failed only because they did."""
    reason: str = ""
    """Why it waits, or its error."""


class Edge(NamedTuple):
    """The child waits for the parent."""

    parent: UUID
    child: UUID


@dataclass(frozen=True, kw_only=True)
class RunGraph:
    """Tasks in the order of their making, and the edges between them."""

    nodes: list[Node]
    outside: list[Node]
    """Tasks of other runs that these wait for, or that wait for these."""
    edges: list[Edge]
    truncated: bool
    """Whether the run has more tasks or edges than are listed."""

    def behind(self, task_id: UUID) -> list[UUID]:
        """Return what waits, or has failed, because that task has not completed; the nearest first."""
        held = {node.task_id for node in [*self.nodes, *self.outside] if node.is_held}
        children: dict[UUID, list[UUID]] = defaultdict(list)
        for parent, child in self.edges:
            if child in held:
                children[parent].append(child)
        found: dict[UUID, None] = {}
        line = deque(children[task_id])
        while line:
            child = line.popleft()
            if child not in found:
                found[child] = None
                line.extend(children[child])
        return list(found)


def graph_of(run: Run) -> RunGraph:
    """Return up to TASKS_MOST tasks and EDGES_MOST edges of the run, wherever its tasks are kept."""
    tasks = list(_light().filter(run=run).order_by("id")[: TASKS_MOST + 1])
    archive = ArchivedTask.objects.defer("attempts", "events")
    archived = list(archive.filter(run_id=run.run_id).order_by("id")[: TASKS_MOST + 1])
    own = {each.task_id for each in [*archived, *tasks]}
    inward = TaskDependency.objects.filter(child_task_id__in=own)
    outward = TaskDependency.objects.filter(parent_task_id__in=own).exclude(child_task_id__in=own)
    pairs = [
        Edge(*pair)
        for edges in (inward, outward)
        for pair in edges.order_by("id").values_list("parent_task_id", "child_task_id")[: EDGES_MOST + 1]
    ]
    others = {task_id for pair in pairs for task_id in pair} - own
    around = list(_light().filter(task_id__in=others).order_by("id")[:TASKS_MOST])
    kept = list(archive.filter(task_id__in=others).order_by("id")[:TASKS_MOST])
    reasons = _reasons([*tasks, *around], pairs, [*archived, *kept])
    nodes = [*map(_archived_node, archived), *(_node(task, reasons) for task in tasks)]
    return RunGraph(
        nodes=nodes[:TASKS_MOST],
        outside=[*map(_archived_node, kept), *(_node(task, reasons) for task in around)],
        edges=pairs[:EDGES_MOST],
        truncated=len(nodes) > TASKS_MOST or len(pairs) > EDGES_MOST,
    )


def _light() -> TaskQuerySet:
    whole = Task.objects.select_related("run").annotate(error_head=Left("error", ERROR_CHARS))
    rows: TaskQuerySet = whole.defer("params", "result", "error", "bindings")
    return rows


def _node(task: Task, reasons: Mapping[UUID, str]) -> Node:
    error: str = (getattr(task, "error_head", None) or "").strip().split("\n", 1)[0]
    return Node(
        task_id=task.task_id,
        stage=task.stage,
        task_name=task.task_name,
        status=task.status,
        display_status=task.display_status,
        run_id=task.run.run_id if task.run else None,
        progress=task.progress,
        failure_class=task.failure_class,
        error=error,
        created_at=task.created_at,
        claimed_at=task.claimed_at,
        completed_at=task.completed_at,
        duration_sec=task.duration_sec,
        superseded=SUPERSEDED in task.stage,
        is_held=task.display_status == WAITING or task.unrunnable_because is not None,
        reason=reasons.get(task.task_id) or error,
    )


def _archived_node(archived: ArchivedTask) -> Node:
    error = (archived.task.get("error") or "").strip().split("\n", 1)[0][:ERROR_CHARS]
    stage = archived.task.get("stage") or ""
    claimed = archived.task.get("claimed_at")
    claimed_at = datetime.fromisoformat(claimed) if claimed else None
    took = archived.completed_at - claimed_at if claimed_at and archived.completed_at else None
    return Node(
        task_id=archived.task_id,
        stage=stage,
        task_name=archived.task_name,
        status=archived.status,
        display_status=archived.status,
        run_id=archived.run_id,
        failure_class=archived.task.get("failure_class") or "",
        error=error,
        created_at=archived.created_at,
        claimed_at=claimed_at,
        completed_at=archived.completed_at,
        duration_sec=took.total_seconds() if took is not None else None,
        superseded=SUPERSEDED in stage,
        reason=error,
    )


def _reasons(tasks: Sequence[Task], edges: Iterable[Edge], archived: Iterable[ArchivedTask]) -> dict[UUID, str]:
    """Say of each waiting task what it waits for."""
    standing = {task.task_id: (task.stage or task.task_name, task.display_status) for task in tasks}
    standing |= {each.task_id: (each.task.get("stage") or each.task_name, each.status) for each in archived}
    parents: dict[UUID, list[UUID]] = defaultdict(list)
    for parent, child in edges:
        parents[child].append(parent)
    return {
        task.task_id: _waits_for(task, [standing[parent] for parent in parents[task.task_id] if parent in standing])
        for task in tasks
        if task.display_status == WAITING
    }


def _waits_for(task: Task, parents: Sequence[tuple[str, str]]) -> str:
    """Say which of the parents, each with its stage and status, are missing."""
    counts = Counter(parent for parent in parents if parent[1] != TaskStatus.COMPLETED)
    listed = ", ".join(f"{stage} ({f'{n} ' if n > 1 else ''}{status})" for (stage, status), n in counts.items())
    text = f"waits for {counts.total()} of {len(parents)}: {listed}"
    if task.join_quorum is not None:
        text += f"; {task.join_quorum} must complete"
        if task.join_deadline_at is not None:
            text += f" from {clock.stamp(task.join_deadline_at)} on, or when no more can complete"
    return text
