"""Rows to start a test from, made the way the queue makes them, and claims of chosen tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from tasks_app.engine import registry
from tasks_app.engine.claim import Claim, claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import AttemptReport, fail_attempt
from tasks_app.engine.move import admit
from tasks_app.engine.registry import TaskSpec
from tasks_app.engine.spawn import NewTask, spawn
from tasks_app.errors import NotClaimable
from tasks_app.models import Freeze, Hold, Run, Task, TaskStatus, Worker
from tasks_app.operations.tasks import cancel


def claim_task(task: Task, worker: Worker) -> Claim:
    """Claim this one task, whatever stands before it in its queue. Raises NotClaimable."""
    worker.queues = [task.queue_id]
    claim = pick(worker, Q(pk=task.pk))
    if claim is None:
        task.refresh_from_db()
        raise NotClaimable(task.task_id, _why_not(task))
    return claim


@transaction.atomic
def pick(worker: Worker, wanted: Q | None = None) -> Claim | None:
    """Claim the next task, of those wanted if it is said which; return None when there is none to be had.

    The others are held back for the time of the transaction, so that nobody else notices.
    """
    aside: list[int] = []
    if wanted is not None:
        others = Task.objects.filter(queue_id__in=worker.queues, status=TaskStatus.PENDING, hold__in=(0, Hold.LIMIT))
        aside = list(others.exclude(wanted).select_for_update(skip_locked=True).values_list("pk", flat=True))
        Task.objects.filter(pk__in=aside).update(hold=F("hold").bitor(Hold.DEPENDENCY))
        admit()
    claims = claim_tasks(worker, limit=1)
    Task.objects.filter(pk__in=aside).update(hold=F("hold").bitand(~Hold.DEPENDENCY))
    return claims[0] if claims else None


def _why_not(task: Task) -> str:
    if task.status != TaskStatus.PENDING or task.hold & ~Hold.LIMIT:
        return f"it is {task.display_status}"
    if Freeze.objects.exists():
        return "everything is frozen"
    if task.queue.is_paused:
        return f"queue {task.queue_id} is paused"
    return "its limit is full" if task.hold else "another transaction holds its row"


ACTOR = "user:test"


def make_worker(**fields: Any) -> Worker:
    """Make a worker that serves the default queue; `fields` are columns to be otherwise."""
    defaults = {"label": "worker-1", "host": "test", "host_id": "test", "pid": 1, "concurrency": 4}
    return Worker.objects.create(**{**defaults, "queues": [settings.ABSURD_QUEUE_NAME], **fields})


def make_run(workflow: str = "test", **fields: Any) -> Run:
    """Make a run without tasks; `fields` are columns to be otherwise."""
    return Run.objects.create(workflow=workflow, **{"created_by": ACTOR, **fields})


def make_task(
    task_name: str,
    params: Mapping[str, Any] | None = None,
    *,
    status: str = TaskStatus.PENDING,
    worker: Worker | None = None,
    result: Mapping[str, Any] | None = None,
    error: str = "failed for the test",
    failure_class: str = "invalid",
    actor: str = ACTOR,
    **options: Any,
) -> Task:
    """Spawn a task and bring it to the status by the moves that lead there; `options` are those of NewTask.

    `result` is what a completed one returned; `error` and `failure_class` are how the attempt of a failed one ended,
    which must be a class that is not retried, or `max_retries` 0. Raises NotClaimable when a status beyond pending is
    asked for and something holds the task.
    """
    task = spawn(NewTask.of(task_name=task_name, params=params or {}, **options), actor=actor)
    if status == TaskStatus.CANCELLED:
        cancel(task.task_id, actor=actor)
    elif status != TaskStatus.PENDING:
        claim = claim_task(task, worker or make_worker())
        if status == TaskStatus.COMPLETED:
            complete_task(claim, dict(result or {}), AttemptReport())
        elif status == TaskStatus.FAILED:
            fail_attempt(claim, failure_class, error, AttemptReport())
    task.refresh_from_db()
    if task.status != status:
        raise ValueError(f"asked for a task that is {status}, but it is {task.status}")
    return task


@contextmanager
def registered(*specs: TaskSpec) -> Iterator[None]:
    """Register task names for the time of the block. A name that was known before keeps its spec afterwards."""
    before = {spec.name: registry.find(spec.name) for spec in specs}
    try:
        for spec in specs:
            registry.register(spec)
        yield
    finally:
        for name, known in before.items():
            if known is None:
                registry._specs.pop(name, None)
