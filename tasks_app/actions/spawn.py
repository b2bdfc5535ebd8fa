"""Put new tasks into a queue."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import IntegrityError, transaction

from tasks_app import clock, dependencies, policies, registry
from tasks_app.errors import Disabled, IdempotencyConflict, ParamsInvalid
from tasks_app.models import Hold, IdempotencyKey, Queue, Run, Task, TaskDependency, TaskStatus
from tasks_app.models.task import PRIORITY_DEFAULT, PRIORITY_LEAST, PRIORITY_MOST, FailureClass
from tasks_app.transitions import Act, condemn, insert

TIMEOUT_MOST_SEC = 7 * 86_400


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A param that takes its value from a field of a parent's result; the parent becomes a dependency."""

    task_id: UUID
    field: str


@dataclass(frozen=True, kw_only=True)
class SpawnRequest:
    """Everything that can be said of a new task."""

    task_name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    queue_name: str | None = None
    priority: int = PRIORITY_DEFAULT
    timeout_sec: int | None = None
    max_retries: int | None = None
    run_after: datetime | None = None
    expires_at: datetime | None = None
    depends_on: Sequence[UUID] = ()
    bindings: Mapping[str, Binding] = field(default_factory=dict)
    idempotency_key: str | None = None
    run: Run | None = None
    stage: str = ""
    task_id: UUID | None = None


def spawn(request: SpawnRequest, *, actor: str) -> Task:
    """Create one task, or find the one that the same idempotency key made before.

    Raises Disabled, UnknownTaskName, ParamsInvalid, IdempotencyConflict.
    """
    if request.idempotency_key is None:
        return spawn_many([request], actor=actor)[0]
    try:
        with transaction.atomic():
            known = IdempotencyKey.objects.filter(key=request.idempotency_key).first()
            if known is None:
                task = spawn_many([request], actor=actor)[0]
                IdempotencyKey.objects.create(
                    key=request.idempotency_key, fingerprint=_fingerprint(request), task_id=task.task_id
                )
                return task
    except IntegrityError:
        known = IdempotencyKey.objects.filter(key=request.idempotency_key).first()
        if known is None:
            raise
    if known.fingerprint != _fingerprint(request):
        raise IdempotencyConflict(request.idempotency_key)
    return Task.objects.get(task_id=known.task_id)


def spawn_many(requests: Sequence[SpawnRequest], *, actor: str) -> list[Task]:
    """Create several tasks at once, all or none; a task may depend on another of the same call by its task_id.

    Raises Disabled, UnknownTaskName, ParamsInvalid.
    """
    if not settings.ABSURD_ENABLED:
        raise Disabled
    with transaction.atomic():
        moment = clock.now()
        queues = {name: _queue(name) for name in {_queue_name(request) for request in requests}}
        tasks = [_build(request, queues[_queue_name(request)], moment, actor) for request in requests]
        _connect(tasks, requests)
        insert(tasks, Act(verb="spawned", actor=actor))
        _fail_the_unrunnable(tasks)
    return tasks


def _queue_name(request: SpawnRequest) -> str:
    return request.queue_name or settings.ABSURD_QUEUE_NAME


def _queue(name: str) -> Queue:
    if not name.strip() or len(name) > 100 or not name.isprintable() or "/" in name:
        raise ParamsInvalid([{"path": "queue_name", "message": "write 1 to 100 printable characters without a slash"}])
    return Queue.objects.get_or_create(name=name)[0]


def _build(request: SpawnRequest, queue: Queue, moment: datetime, actor: str) -> Task:
    spec = registry.get(request.task_name)
    _check_options(request)
    params = registry.check_params(spec, dict(request.params), request.bindings.keys())
    runnable_at = max(request.run_after or moment, moment)
    return Task(
        task_id=request.task_id or uuid4(),
        queue=queue,
        task_name=spec.name,
        params=params,
        bindings={
            name: {"task_id": str(binding.task_id), "field": binding.field}
            for name, binding in request.bindings.items()
        },
        priority=request.priority,
        hold=Hold.FUTURE if runnable_at > moment else 0,
        memory_class=policies.memory_class(spec.memory_gb),
        memory_gb=spec.memory_gb,
        cores=spec.cores,
        runnable_at=runnable_at,
        expires_at=request.expires_at,
        timeout_sec=_first(
            request.timeout_sec, spec.timeout_sec, queue.default_timeout_sec, settings.ABSURD_TASK_TIMEOUT
        ),
        max_retries=_first(
            request.max_retries, spec.max_retries, queue.default_max_retries, settings.ABSURD_MAX_RETRIES
        ),
        lease_sec=settings.ABSURD_LEASE_SEC,
        run=request.run,
        stage=request.stage,
        created_by=actor,
    )


def _first(*choices: int | None) -> int:
    return next(choice for choice in choices if choice is not None)


def _check_options(request: SpawnRequest) -> None:
    problems = []
    if not PRIORITY_LEAST <= request.priority <= PRIORITY_MOST:
        problems.append({"path": "priority", "message": f"write {PRIORITY_LEAST} to {PRIORITY_MOST}"})
    if request.timeout_sec is not None and not 1 <= request.timeout_sec <= TIMEOUT_MOST_SEC:
        problems.append({"path": "timeout_sec", "message": f"write 1 to {TIMEOUT_MOST_SEC} seconds"})
    if request.max_retries is not None and not 0 <= request.max_retries <= 100:
        problems.append({"path": "max_retries", "message": "write 0 to 100"})
    if request.idempotency_key is not None and not 1 <= len(request.idempotency_key) <= 200:
        problems.append({"path": "idempotency_key", "message": "write 1 to 200 characters"})
    if problems:
        raise ParamsInvalid(problems)


def _connect(tasks: Sequence[Task], requests: Sequence[SpawnRequest]) -> None:
    """Write the edges and hold back the children, with the parents locked so that none finishes unseen."""
    own = {task.task_id for task in tasks}
    edges = [
        (task, parent)
        for task, request in zip(tasks, requests, strict=True)
        for parent in {*request.depends_on, *(binding.task_id for binding in request.bindings.values())}
    ]
    known = dependencies.lock_parents([parent for _, parent in edges if parent not in own])
    unknown = [parent for _, parent in edges if parent not in own and parent not in known]
    if unknown:
        raise ParamsInvalid([{"path": "depends_on", "message": f"there is no task {parent}"} for parent in unknown])
    for task, parent in edges:
        if parent in own or known[parent].status != TaskStatus.COMPLETED:
            task.hold |= Hold.DEPENDENCY
    TaskDependency.objects.bulk_create(
        [TaskDependency(child_task_id=task.task_id, parent_task_id=parent) for task, parent in edges]
    )


def _fail_the_unrunnable(tasks: Sequence[Task]) -> None:
    """A task spawned behind one that already failed for good fails at once, and says so."""
    for task in [task for task in tasks if task.hold & Hold.DEPENDENCY]:
        parents = TaskDependency.objects.filter(child_task_id=task.task_id).values("parent_task_id")
        dead = Task.objects.filter(
            task_id__in=parents, status=TaskStatus.FAILED, failure_class=FailureClass.INVALID
        ).first()
        if dead is not None and task.status == TaskStatus.PENDING:
            condemn(task, dead)


def _fingerprint(request: SpawnRequest) -> str:
    content = {
        "task_name": request.task_name,
        "queue_name": _queue_name(request),
        "params": dict(request.params),
        "priority": request.priority,
        "timeout_sec": request.timeout_sec,
        "max_retries": request.max_retries,
        "run_after": request.run_after.isoformat() if request.run_after else None,
        "depends_on": sorted(map(str, request.depends_on)),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
