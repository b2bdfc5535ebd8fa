"""New tasks: checked, wired to those they depend on, and inserted with their events in one statement."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.db.models.base import ModelState

from tasks_app import tracing
from tasks_app.auth import client_address
from tasks_app.engine import archive, backoff, dependencies, idempotency, limits, lookup, notify, registry
from tasks_app.engine.bindings import Binding, Gather
from tasks_app.engine.move import admit, condemn
from tasks_app.engine.options import KEY_CHARS, PARTS, Join, TaskOptions
from tasks_app.engine.system_state import current, disabled_message, is_enabled
from tasks_app.errors import Disabled, ParamsInvalid, UnknownTaskName
from tasks_app.models import Hold, Queue, Run, Task, TaskDependency, TaskStatus
from tasks_app.models.task import new_task_id
from tasks_app.postgresql import statements

INSERT = Path(__file__).parent / "sql" / "insert.sql"
_NUMBER_CHARS = 10
SPAN_NAME_CHARS = 200


@dataclass(frozen=True, kw_only=True)
class NewTask:
    """Options, with a place in a run and among other tasks."""

    options: TaskOptions
    task_id: UUID = field(default_factory=new_task_id)
    after: Sequence[UUID] = ()
    """Further tasks that it waits for, however many."""
    bindings: Mapping[str, Binding | Gather] = field(default_factory=dict)
    """Params that take their values from parents' results; the parents become dependencies."""
    run: Run | None = None
    stage: str = ""
    path: str = ""
    """How faults name it among the others of its call."""

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Return a task from options and the rest in one row. Raises ParamsInvalid for options that do not fit."""
        own = {name: given.pop(name) for name in _OWN if name in given}
        return cls(options=TaskOptions(**given), **own)

    def problem(self, path: str, message: str) -> dict[str, str]:
        """Return a fault of this task, by the path of one of its fields."""
        return {"path": f"{self.path}.{path}" if self.path else path, "message": message}

    @property
    def content(self) -> dict[str, Any]:
        """Everything that makes two requests with one idempotency key ask for the same, as JSON.

        What is not given is left out, so that a new option of the next version changes nothing.
        """
        given = self.options.model_dump(mode="json", exclude_defaults=True, exclude={"idempotency_key", "params"})
        given["depends_on"] = sorted(map(str, (*self.options.depends_on, *self.after)))
        bindings = {name: binding.stored() for name, binding in self.bindings.items()}
        return {**given, "params": self.options.params, "bindings": bindings}

    @property
    def parents(self) -> list[UUID]:
        """The tasks that it names to wait for, once each; the runs of its options not counted."""
        bound = (parent for binding in self.bindings.values() for parent in binding.parents)
        return list(dict.fromkeys([*self.options.depends_on, *self.after, *bound]))


def options_of(task: Task, **changed: Any) -> TaskOptions:
    """Return the options for a task like one that is stored, with some of them changed; moments are not taken over."""
    same = {name: getattr(task, name) for name in PARTS}
    return TaskOptions(**{**same, "task_name": task.task_name, "queue_name": task.queue_id, **changed})


_OWN = tuple(each.name for each in fields(NewTask) if each.name != "options")


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
    if not tracing.ON:
        return _spawn(wanted, actor)
    names = ", ".join(sorted({new.options.task_name for new in wanted}))
    with tracing.span(f"spawn {names}"[:SPAN_NAME_CHARS], "producer", attributes={"absurd.tasks": len(wanted)}):
        return _spawn(wanted, actor)


def _spawn(wanted: Sequence[NewTask], actor: str) -> list[Task]:
    rows = _rows_of(wanted)
    if not any(map(_needs_more, wanted)):
        stored = _insert(rows, actor)
        return [stored[new.task_id] for new in wanted]
    with transaction.atomic():
        keyed = [(key, new.content, new.task_id) for new in wanted if (key := new.options.idempotency_key)]
        known = idempotency.reserve(keyed, caller=actor)
        fresh = {new.task_id: (new, row) for new, row in zip(wanted, rows, strict=True) if new.task_id not in known}
        edges = _connect([new for new, _ in fresh.values()])
        limits.make_for_keys(new.options.concurrency_key for new, _ in fresh.values())
        ordered = [{**fresh[task_id][1], "waits": task_id in edges.waiting} for task_id in edges.order]
        stored = _insert(ordered, actor) if ordered else {}
        for task_id, task in stored.items():
            task.depends_on = edges.parents.get(task_id, ())
        _fail_hopeless([task for task in stored.values() if task.hold & Hold.DEPENDENCY])
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
    if tracing.ON:
        rows = [{**row, "traceparent": tracing.current()} for row in rows]
    return rows


def _row_of(new: NewTask) -> dict[str, Any]:
    options = new.options
    spec = registry.get(options.task_name)
    row = {**_DEFAULTS, **_of_spec(spec), "queue_name": settings.ABSURD_QUEUE_NAME}
    for name in options.model_fields_set - _ELSEWHERE:
        value = getattr(options, name)
        if value is not None:
            row[name] = value if isinstance(value, _PLAIN) else str(value)
    if options.join is not None:
        row |= {"join_quorum": options.join.quorum, "join_deadline_sec": options.join.deadline_sec}
    row["task_id"] = str(new.task_id)
    row["params"] = registry.check_params(spec, options.params, new.bindings.keys())
    row["bindings"] = {name: binding.stored() for name, binding in new.bindings.items()}
    row["rank_offset_ms"] = backoff.RANK_OFFSETS_MS[options.priority]
    row["run_id"] = None if new.run is None else new.run.pk
    row["stage"] = new.stage
    return row


_ELSEWHERE = frozenset({"params", "depends_on", "depends_on_runs", "join", "idempotency_key"})
"""Options that are no values of the task's own row."""
_DEFAULTS = {
    name: option.default
    for name, option in TaskOptions.model_fields.items()
    if name not in _ELSEWHERE and not option.is_required() and option.default is not None
}
"""What holds for options that are not given."""
_PLAIN = (int, float, str)
_WORKED_OUT = frozenset({"task_name", "queue_name", "params", "expires_at", *registry.DEFAULTED})
"""Options that the insertion itself needs to know of."""


@cache
def _of_spec(spec: registry.TaskSpec) -> Mapping[str, Any]:
    """Return what a task name decides, as far as its tasks' options do not."""
    needed = {"memory_gb": spec.memory_gb, "cores": spec.cores, "disk_gb": spec.disk_gb}
    defaults = {name: getattr(spec, name) for name in registry.DEFAULTED}
    return {**needed, **defaults}


def _insert(rows: Sequence[Mapping[str, Any]], actor: str) -> dict[UUID, Task]:
    """Insert the rows and return the tasks by id; queues that do not exist are made. Raises Disabled."""
    params = {
        "rows": json.dumps(rows),
        "enabled": settings.ABSURD_ENABLED,
        "timeout_sec": settings.ABSURD_TASK_TIMEOUT,
        "max_retries": settings.ABSURD_MAX_RETRIES,
        "lease_sec": settings.ABSURD_LEASE_SEC,
        "actor": actor,
        "detail": json.dumps(client_address.detail()),
    }
    statement = statements.load(INSERT, columns=_COLUMNS, kept=_KEPT, definitions=_DEFINITIONS)
    found = statements.run(statement, params)
    if not found:
        if not is_enabled():
            raise Disabled(disabled_message(current()))
        queues = {row["queue_name"] for row in rows}
        Queue.objects.bulk_create([Queue(name=name) for name in sorted(queues)], ignore_conflicts=True)
        found = statements.run(statement, params)
    transaction.on_commit(notify.publisher.announce)
    tasks = [_task_of(row) for row in found]
    notify.wake_workers({task.queue_id for task in tasks if task.hold == 0})
    if any(task.hold & Hold.LIMIT for task in tasks):
        admit()
    return {task.task_id: task for task in tasks}


_FIELDS: Sequence[Any] = Task._meta.concrete_fields
_ATTRIBUTES, _COLUMNS = [each.attname for each in _FIELDS], tuple(each.column for each in _FIELDS)
_KEPT = tuple(name for name in TaskOptions.model_fields if name in _COLUMNS and name not in _WORKED_OUT)
_DEFINITIONS = tuple((name, Task._meta.get_field(name).db_type(connection)) for name in _KEPT)
"""Options whose columns keep them as they are given."""
_JSON_PLACES = [_COLUMNS.index(name) for name in ("params", "bindings", "progress_metrics", "unavailable_on")]


def _task_of(row: Sequence[Any]) -> Task:
    """Return the task of a row that the insertion returned."""
    queue_paused, *values = row
    for place in _JSON_PLACES:
        values[place] = json.loads(text) if (text := values[place]) != "{}" else {}
    # Not by from_db, which sets one field after another: that takes as long as the insertion itself.
    task, state = Task.__new__(Task), ModelState()
    state.db, state.adding = DEFAULT_DB_ALIAS, False
    task.__dict__.update(zip(_ATTRIBUTES, values, strict=True), _state=state, is_new=True, queue_paused=queue_paused)
    return task


def _fail_hopeless(waiting: Sequence[Task]) -> None:
    """Fail those of the new tasks that wait for what will never be."""
    for task, parent in dependencies.hopeless(waiting) if waiting else ():
        condemn(task, parent)


@dataclass(frozen=True, kw_only=True)
class Edges:
    """How the tasks of one call stand to others."""

    order: Sequence[UUID]
    """The tasks in the order in which they must be inserted, parents first."""
    parents: Mapping[UUID, Sequence[UUID]] = field(default_factory=dict)
    waiting: Collection[UUID] = frozenset()
    """Those that must wait."""


def _connect(tasks: Sequence[NewTask]) -> Edges:
    """Write the edges of new tasks, with the parents locked so that none finishes unseen.

    Raises ParamsInvalid for unknown parents and for circles.
    """
    parents = {new.task_id: _parents_of(new) for new in tasks}
    if not any(parents.values()):
        return Edges(order=list(parents))
    _check_quorums(tasks, parents)
    outside = {parent for named in parents.values() for parent in named if parent not in parents}
    statuses = dependencies.lock_parents(outside)
    unknown = outside - statuses.keys()
    if unknown:
        raise ParamsInvalid(
            [
                new.problem("depends_on", f"there is no task {parent}")
                for new in tasks
                for parent in parents[new.task_id]
                if parent in unknown
            ]
        )
    waiting = {
        new.task_id
        for new in tasks
        if not _is_joined(new, [statuses.get(parent, TaskStatus.PENDING) for parent in parents[new.task_id]])
    }
    TaskDependency.objects.bulk_create(
        [
            TaskDependency(child_task_id=child, parent_task_id=parent)
            for child, named in parents.items()
            for parent in named
        ],
        batch_size=5000,
    )
    return Edges(order=_parents_first(parents), parents=parents, waiting=waiting)


def _parents_of(new: NewTask) -> list[UUID]:
    """Return every task that a new one waits for, once each, in the order named."""
    run_ids = new.options.depends_on_runs
    if not run_ids:
        return new.parents
    runs = dict(Run.objects.filter(run_id__in=run_ids).values_list("run_id", "pk"))
    missing = [run_id for run_id in run_ids if run_id not in runs]
    if missing:
        raise ParamsInvalid([new.problem("depends_on_runs", f"there is no run {run_id}") for run_id in missing])
    of_runs = Task.objects.filter(run__in=runs.values()).order_by("id").values_list("task_id", flat=True)
    return list(dict.fromkeys([*new.parents, *of_runs, *archive.tasks_of_runs(run_ids)]))


def _check_quorums(tasks: Sequence[NewTask], parents: Mapping[UUID, Sequence[UUID]]) -> None:
    problems = []
    for new in tasks:
        join, most = new.options.join, len(parents[new.task_id])
        if join is not None and join.quorum is not None and join.quorum > most:
            message = f"must be at most {most}, the number of tasks it waits for (got {join.quorum})"
            problems.append(new.problem("join.quorum", message))
    if problems:
        raise ParamsInvalid(problems)


def _is_joined(new: NewTask, statuses: Sequence[str]) -> bool:
    join = new.options.join or Join()
    unfinished = statuses.count(TaskStatus.PENDING) + statuses.count(TaskStatus.CLAIMED)
    standing = dependencies.Join(
        parents=len(statuses), completed=statuses.count(TaskStatus.COMPLETED), unfinished=unfinished
    )
    return standing.is_satisfied(join.quorum, datetime.max if join.deadline_sec else None, datetime.min)


def _parents_first(parents: Mapping[UUID, Sequence[UUID]]) -> list[UUID]:
    """Return the tasks of this call so that each stands behind those of them that it waits for.

    Rows are locked in the order of their ids, and a transaction that finishes a parent continues with its children.
    """
    sorter: TopologicalSorter[UUID] = TopologicalSorter()
    for child, named in parents.items():
        sorter.add(child, *(parent for parent in named if parent in parents))
    try:
        return list(sorter.static_order())
    except CycleError as error:
        circle = " → ".join(str(task_id) for task_id in error.args[1])
        raise ParamsInvalid([{"path": "depends_on", "message": f"tasks wait for each other: {circle}"}]) from None


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
    content = [[new.options.idempotency_key, new.content] for new in keyed]
    made: list[Task] = []

    def make() -> UUID:
        made.extend(spawn_many(keyed, actor=actor))
        return made[0].task_id

    # What was made before is found by the keys of the single tasks.
    _, repeated = idempotency.once(key, content, caller=actor, make=make)
    return spawn_many(keyed, actor=actor) if repeated else made


def _keyed(options: TaskOptions, key: str) -> TaskOptions:
    return options.model_copy(update={"idempotency_key": options.idempotency_key or key})
