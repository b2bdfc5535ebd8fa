"""New tasks: checked, wired to those they depend on, and inserted with their events in one statement."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from tasks_app import cleaning
from tasks_app.auth import client_address
from tasks_app.engine import backoff, dependencies, idempotency, limits, lookup, notify, registry
from tasks_app.engine.move import admit, condemn
from tasks_app.engine.new_task import NewTask
from tasks_app.engine.options import KEY_CHARS, TaskOptions
from tasks_app.engine.system_state import current, disabled_message, is_enabled
from tasks_app.errors import Disabled, ParamsInvalid, UnknownTaskName
from tasks_app.models import Hold, Queue, Task
from tasks_app.postgresql import statements

BATCH_MOST = 500
INSERT = Path(__file__).parent / "sql" / "insert.sql"
_NUMBER_CHARS = 10


def spawn(task: TaskOptions | NewTask, *, actor: str) -> Task:
    """Create one task, or find the one that the same idempotency key made before; see `spawn_many`."""
    return spawn_many([task], actor=actor)[0]


def spawn_many(tasks: Sequence[TaskOptions | NewTask], *, actor: str) -> list[Task]:
    """Create several tasks at once, all or none; a task may depend on another of the same call by its task_id.

    What is returned is what was stored, with `is_new`, `depends_on` and `queue_paused`. A task whose idempotency key
    has been used for the same content is the one of that time, and not new. The whole belongs to the caller's
    transaction, if there is one. Raises Disabled, UnknownTaskName, ParamsInvalid, IdempotencyConflict.
    """
    wanted = [task if isinstance(task, NewTask) else NewTask(options=task) for task in tasks]
    rows = _rows_of(wanted)
    if not any(map(_needs_more, wanted)):
        for place, row in enumerate(rows):
            row |= {"place": place, "waits": False}
        stored = _insert(rows, actor)
        _settle(list(stored.values()))
        return [stored[new.task_id] for new in wanted]
    with transaction.atomic():
        known = idempotency.reserve(wanted, caller=actor)
        fresh = [place for place, new in enumerate(wanted) if new.task_id not in known]
        edges = dependencies.connect([wanted[place] for place in fresh])
        limits.make_for_keys(wanted[place].options.concurrency_key for place in fresh)
        chosen = {wanted[place].task_id: rows[place] for place in fresh}
        ordered = [
            {**chosen[task_id], "place": place, "waits": task_id in edges.waiting}
            for place, task_id in enumerate(edges.order)
        ]
        stored = _insert(ordered, actor) if ordered else {}
        for task_id, task in stored.items():
            task.depends_on = edges.parents.get(task_id, ())
        _settle(list(stored.values()))
    earlier = {task_id: stored.get(task_id) or lookup.find(task_id) for task_id in set(known.values())}
    return [earlier[known[new.task_id]] if new.task_id in known else stored[new.task_id] for new in wanted]


def _needs_more(new: NewTask) -> bool:
    """Whether it takes more than the one statement that inserts it."""
    options = new.options
    return bool(options.idempotency_key or options.concurrency_key or options.depends_on_runs or new.parents)


def _rows_of(tasks: Sequence[NewTask]) -> list[dict[str, Any]]:
    """Return what the insertion is given of the tasks. Raises UnknownTaskName, ParamsInvalid with all faults."""
    rows, problems = [], []
    for new in tasks:
        try:
            rows.append(_row_of(new))
        except UnknownTaskName as error:
            if not new.path:
                raise
            problems.append(new.problem("task_name", str(error)))
        except ParamsInvalid as error:
            problems += [new.problem(problem["path"], problem["message"]) for problem in error.problems]
    if problems:
        raise ParamsInvalid(problems)
    return rows


def _row_of(new: NewTask) -> dict[str, Any]:
    options = new.options
    spec = registry.get(options.task_name)
    row = {**_of_spec(spec), "queue_name": settings.ABSURD_QUEUE_NAME}
    for name, value in options:
        if value is not None and name not in _ELSEWHERE:
            row[name] = value if isinstance(value, _PLAIN) else str(value)
    if options.join is not None:
        row |= {"join_quorum": options.join.quorum, "join_deadline_sec": options.join.deadline_sec}
    row["task_id"] = str(new.task_id)
    row["params"] = registry.check_params(spec, options.params, new.bindings.keys())
    row["bindings"] = {name: binding.stored() for name, binding in new.bindings.items()}
    row["rank_offset_ms"] = backoff.rank_offset_ms(options.priority)
    row["run_id"] = None if new.run is None else new.run.pk
    row["stage"] = new.stage
    return row


_ELSEWHERE = frozenset({"params", "depends_on", "depends_on_runs", "join", "idempotency_key"})
"""Options that are no values of the task's own row."""
_PLAIN = (int, float, str)


@cache
def _of_spec(spec: registry.TaskSpec) -> Mapping[str, Any]:
    """Return what a task name decides, as far as its tasks' options do not."""
    return {
        "memory_class": backoff.memory_class(spec.memory_gb),
        "memory_gb": spec.memory_gb,
        "cores": spec.cores,
        "disk_gb": spec.disk_gb,
        "timeout_sec": spec.timeout_sec,
        "idle_timeout_sec": spec.idle_timeout_sec,
        "total_timeout_sec": spec.total_timeout_sec,
        "max_retries": spec.max_retries,
    }


def _insert(rows: Sequence[Mapping[str, Any]], actor: str) -> dict[UUID, Task]:
    """Insert the rows and return the tasks by id; queues that do not exist are made. Raises Disabled."""
    params = {
        "rows": json.dumps(rows),
        "enabled": settings.ABSURD_ENABLED,
        "timeout_sec": settings.ABSURD_TASK_TIMEOUT,
        "max_retries": settings.ABSURD_MAX_RETRIES,
        "lease_sec": settings.ABSURD_LEASE_SEC,
        "actor": actor,
        "detail": cleaning.dumps(client_address.detail()),
    }
    names, found = statements.select(statements.load(INSERT), params)
    if not found:
        if not is_enabled():
            raise Disabled(disabled_message(current()))
        queues = {row["queue_name"] for row in rows}
        Queue.objects.bulk_create([Queue(name=name) for name in sorted(queues)], ignore_conflicts=True)
        names, found = statements.select(statements.load(INSERT), params)
    transaction.on_commit(notify.publisher.announce)
    tasks = _tasks_of(names, found)
    notify.wake_workers({task.queue_id for task in tasks if task.hold == 0})
    return {task.task_id: task for task in tasks}


def _tasks_of(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Task]:
    """Return the tasks of the rows that the insertion returned."""
    places = [names.index(column) for column in _COLUMNS]
    paused, tasks = names.index("queue_paused"), []
    for row in rows:
        values = [row[place] for place in places]
        for place in _JSON_PLACES:
            values[place] = {} if values[place] == "{}" else cleaning.loads(values[place])
        task: Task = Task.from_db(connection.alias, _ATTRIBUTES, values)
        task.is_new, task.queue_paused = True, row[paused]
        tasks.append(task)
    return tasks


_FIELDS: Sequence[Any] = Task._meta.concrete_fields
_ATTRIBUTES, _COLUMNS = [field.attname for field in _FIELDS], [field.column for field in _FIELDS]
_JSON_PLACES = [_COLUMNS.index(name) for name in ("params", "bindings", "progress_metrics", "unavailable_on")]


def _settle(tasks: Sequence[Task]) -> None:
    """Let new tasks come forward under limits with free slots, and fail those that wait for what will never be."""
    if any(task.hold & Hold.LIMIT for task in tasks):
        admit()
    waiting = [task for task in tasks if task.hold & Hold.DEPENDENCY]
    for task in dependencies.hopeless(waiting) if waiting else ():
        condemn(task, dependencies.first_hopeless_parent(task))


@transaction.atomic
def spawn_batch(tasks: Sequence[TaskOptions], *, actor: str, key: str | None = None) -> list[Task]:
    """Create all tasks or none, or find those that the key had made before; return them in order.

    Beside the key of the whole a task may have one of its own. Raises Disabled, IdempotencyConflict, and ParamsInvalid
    with paths such as `tasks.7.params.ms_path`.
    """
    wanted = [NewTask(options=task, path=f"tasks.{number}") for number, task in enumerate(tasks)]
    if key is None:
        return spawn_many(wanted, actor=actor)
    most = KEY_CHARS - _NUMBER_CHARS
    if not 1 <= len(key) <= most:
        message = f"must be 1 to {most} characters long for a batch (got {len(key)})"
        raise ParamsInvalid([{"path": "idempotency_key", "message": message}])
    keyed = [replace(new, options=_keyed(new.options, f"{key}/{number}")) for number, new in enumerate(wanted)]
    content = [[new.options.idempotency_key, idempotency.fingerprint(new)] for new in keyed]
    made: list[Task] = []

    def make() -> UUID:
        made.extend(spawn_many(keyed, actor=actor))
        return made[0].task_id

    # What was made before is found by the keys of the single tasks.
    _, repeated = idempotency.once(key, content, caller=actor, make=make)
    return spawn_many(keyed, actor=actor) if repeated else made


def _keyed(options: TaskOptions, key: str) -> TaskOptions:
    return options.model_copy(update={"idempotency_key": options.idempotency_key or key})
