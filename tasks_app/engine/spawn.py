"""Put new tasks into a queue."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import transaction
from django.db.models.base import ModelState

from tasks_app.engine import backoff, dependencies, idempotency, limits, new_dependencies, registry
from tasks_app.engine import names as allowed
from tasks_app.engine.events import Change
from tasks_app.engine.insert import insert
from tasks_app.engine.move import admit, condemn
from tasks_app.engine.options import SpawnRequest
from tasks_app.engine.registry import TaskSpec
from tasks_app.engine.system_state import current, disabled_message
from tasks_app.errors import Disabled, ParamsInvalid
from tasks_app.models import Hold, Queue, Task
from tasks_app.models.task import PRIORITY_LEAST, PRIORITY_MOST
from tasks_app.postgresql import statements

TIMEOUT_MOST_SEC = 7 * 86_400
WAIT_MOST_SEC = 366 * 86_400
FUTURE_MOST = timedelta(days=3_660)
"""How far ahead a task may be meant to run or expire; what is added to it stays a moment that can be written."""


def spawn(request: SpawnRequest, *, actor: str) -> Task:
    """Create one task, or find the one that the same idempotency key made before.

    Raises Disabled, UnknownTaskName, ParamsInvalid, IdempotencyConflict.
    """
    return spawn_many([request], actor=actor)[0]


def spawn_many(requests: Sequence[SpawnRequest], *, actor: str) -> list[Task]:
    """Create several tasks at once, all or none; a task may depend on another of the same call by its task_id.

    A request whose idempotency key has been used for the same content gets the task of that time. The whole belongs to
    the caller's transaction, if there is one. Raises Disabled, UnknownTaskName, ParamsInvalid, IdempotencyConflict.
    """
    with transaction.atomic():
        builder = _Builder(*_moment_and_queues({_queue_name(request) for request in requests}))
        built = [builder.build(request) for request in requests]
        known = idempotency.reserve(
            [(request.idempotency_key, idempotency.fingerprint(request), task) for request, task in built], caller=actor
        )
        fresh = [(request, task) for request, task in built if task.task_id not in known]
        tasks = new_dependencies.connect(fresh)
        limits.make_for_keys(task.concurrency_key for task in tasks)
        builder.park(tasks)
        if tasks:
            insert(tasks, Change(event_type="spawned", actor=actor))
        if any(task.hold & Hold.LIMIT for task in tasks):
            admit()
        _fail_the_unrunnable(tasks)
    return [known.get(task.task_id, task) for _, task in built]


def _queue_name(request: SpawnRequest) -> str:
    return request.queue_name or settings.ABSURD_QUEUE_NAME


@dataclass(frozen=True, kw_only=True)
class _Queue:
    """What a queue means for the tasks that enter it."""

    name: str
    default_timeout_sec: int | None
    default_max_retries: int | None
    limited: bool


_LOOK = """
SELECT coalesce((SELECT enabled FROM tasks_app_systemstate), %(initial)s::boolean), absurd_now(), queue.name,
    default_timeout_sec, default_max_retries,
    EXISTS (SELECT FROM tasks_app_limit WHERE scope = 'queue' AND name = queue.name)
FROM (VALUES (1)) AS once LEFT JOIN tasks_app_queue AS queue ON queue.name = ANY(%(names)s::text[])
"""


def _moment_and_queues(names: Collection[str]) -> tuple[datetime, dict[str, _Queue]]:
    """Return the present moment and the queues, making those that do not exist. Raises Disabled."""
    for name in names:
        if fault := allowed.fault_of_name(name):
            raise ParamsInvalid([{"path": "queue_name", "message": fault}])
    rows = statements.run(_LOOK, {"names": sorted(names), "initial": settings.ABSURD_ENABLED})
    if not rows[0][0]:
        raise Disabled(disabled_message(current()))
    known = {name: _Queue(name=name, **_columns(rest)) for _, _, name, *rest in rows if name is not None}
    missing = sorted(set(names) - known.keys())
    if missing:
        Queue.objects.bulk_create([Queue(name=name) for name in missing], ignore_conflicts=True)
        return _moment_and_queues(names)
    return rows[0][1], known


def _columns(rest: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(("default_timeout_sec", "default_max_retries", "limited"), rest, strict=True))


class _Builder:
    """Makes the rows of one call, which share a moment and their queues."""

    def __init__(self, moment: datetime, queues: Mapping[str, _Queue]) -> None:
        self._moment = moment
        self._queues = queues
        self._patterns: dict[tuple[str, str], Task] = {}

    def build(self, request: SpawnRequest) -> tuple[SpawnRequest, Task]:
        """Return the request with its unsaved task."""
        spec = registry.get(request.task_name)
        check_options(request)
        params = registry.check_params(spec, dict(request.params), request.bindings.keys())
        queue = self._queues[_queue_name(request)]
        runnable_at = max(request.scheduled_at or self._moment, self._moment)
        task = self._like(spec, queue)
        task.task_id = request.task_id or uuid4()
        task.params = params
        task.bindings = {name: binding.stored() for name, binding in request.bindings.items()}
        task.priority = request.priority
        task.hold = Hold.FUTURE if runnable_at > self._moment else 0
        task.rank = backoff.rank(request.priority, runnable_at)
        task.runnable_at = runnable_at
        if request.timeout_sec is not None:
            task.timeout_sec = request.timeout_sec
        if request.idle_timeout_sec is not None:
            task.idle_timeout_sec = request.idle_timeout_sec
        if request.max_retries is not None:
            task.max_retries = request.max_retries
        task.concurrency_key = request.concurrency_key
        task.stage = request.stage
        if request.run is not None:
            task.run = request.run
        self._set_moments(task, request, spec)
        return request, task

    def _like(self, spec: TaskSpec, queue: _Queue) -> Task:
        """Return a new task with all that the task name and the queue decide.

        A copy of a pattern, because Django's constructor takes longer for one task than everything else here together.
        """
        pattern = self._patterns.get((spec.name, queue.name))
        if pattern is None:
            pattern = self._patterns[spec.name, queue.name] = Task(
                queue_id=queue.name,
                task_name=spec.name,
                memory_class=backoff.memory_class(spec.memory_gb),
                memory_gb=spec.memory_gb,
                cores=spec.cores,
                disk_gb=spec.disk_gb,
                timeout_sec=_first(spec.timeout_sec, queue.default_timeout_sec, settings.ABSURD_TASK_TIMEOUT),
                idle_timeout_sec=spec.idle_timeout_sec,
                max_retries=_first(spec.max_retries, queue.default_max_retries, settings.ABSURD_MAX_RETRIES),
                lease_sec=settings.ABSURD_LEASE_SEC,
            )
        task = Task.__new__(Task)
        task.__dict__.update(pattern.__dict__, _state=ModelState())
        return task

    def _set_moments(self, task: Task, request: SpawnRequest, spec: TaskSpec) -> None:
        total_timeout_sec = (
            request.total_timeout_sec if request.total_timeout_sec is not None else spec.total_timeout_sec
        )
        if total_timeout_sec is not None:
            task.deadline_at = task.runnable_at + timedelta(seconds=total_timeout_sec)
        if request.expires_at is not None:
            task.expires_at = request.expires_at
        elif request.queue_timeout_sec is not None:
            task.expires_at = task.runnable_at + timedelta(seconds=request.queue_timeout_sec)
        if request.join is not None:
            task.join_quorum = request.join.quorum
            if request.join.deadline_sec is not None:
                task.join_deadline_at = self._moment + timedelta(seconds=request.join.deadline_sec)

    def park(self, tasks: Sequence[Task]) -> None:
        """Have new tasks under a limit wait for a free slot, unless something else holds them already."""
        for task in tasks:
            if task.hold == 0 and (task.concurrency_key or self._queues[task.queue_id].limited):
                task.hold = Hold.LIMIT


def _first(*choices: int | None) -> int:
    return next(choice for choice in choices if choice is not None)


def check_options(request: SpawnRequest) -> None:
    """Raise ParamsInvalid for options that are out of range."""
    problems = []

    def within(name: str, value: float | None, least: float, most: float, unit: str = "") -> None:
        if value is not None and not least <= value <= most:
            problems.append({"path": name, "message": f"write {least:g} to {most:g}{unit}"})

    within("priority", request.priority, PRIORITY_LEAST, PRIORITY_MOST)
    within("timeout_sec", request.timeout_sec, 1, TIMEOUT_MOST_SEC, " seconds")
    within("idle_timeout_sec", request.idle_timeout_sec, 1, TIMEOUT_MOST_SEC, " seconds")
    within("queue_timeout_sec", request.queue_timeout_sec, 0.001, WAIT_MOST_SEC, " seconds")
    within("total_timeout_sec", request.total_timeout_sec, 1, WAIT_MOST_SEC, " seconds")
    within("max_retries", request.max_retries, 0, 100)
    if request.join is not None:
        within("join.quorum", request.join.quorum, 1, 10_000)
        within("join.deadline_sec", request.join.deadline_sec, 0, WAIT_MOST_SEC, " seconds")
        if request.join.deadline_sec is not None and request.join.quorum is None:
            problems.append({"path": "join.quorum", "message": "a join with a deadline needs a quorum"})
    if request.idempotency_key is not None and not 1 <= len(request.idempotency_key) <= idempotency.KEY_CHARS:
        problems.append({"path": "idempotency_key", "message": f"write 1 to {idempotency.KEY_CHARS} characters"})
    if request.concurrency_key and (fault := allowed.fault_of_key(request.concurrency_key)):
        problems.append({"path": "concurrency_key", "message": fault})
    latest = datetime.now(UTC) + FUTURE_MOST
    for name, moment in (("scheduled_at", request.scheduled_at), ("expires_at", request.expires_at)):
        if moment is not None and (moment.tzinfo is None or moment > latest):
            message = f"must have a time zone and be within {FUTURE_MOST.days} days from now (got {moment.isoformat()})"
            problems.append({"path": name, "message": message})
    if problems:
        raise ParamsInvalid(problems)


def _fail_the_unrunnable(tasks: Sequence[Task]) -> None:
    """A task spawned behind one that already failed for good fails at once, and says so."""
    waiting = [task for task in tasks if task.hold & Hold.DEPENDENCY]
    for task in dependencies.hopeless(waiting) if waiting else ():
        condemn(task, dependencies.first_hopeless_parent(task))
