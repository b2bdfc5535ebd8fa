"""One operation on many tasks: in chunks, each of which is one short transaction.

A chunk takes the rows that nobody else holds, all in one statement, and changes them in a few more. While it holds them
it waits for no other lock longer than a tenth of a second, which is less than the server takes to look for a deadlock:
in a circle the chunk gives up and is undone. What it did not get is then done one task after the other.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet
from psycopg.errors import LockNotAvailable

from tasks_app.engine.lookup import Refusals, do_to_one, locked_now
from tasks_app.errors import AbsurdError, InvalidTransition
from tasks_app.models import Task
from tasks_app.operations.operation import Pace, Params
from tasks_app.operations.tasks import TaskOperation

PAGE = 500
CHUNK = 100
"""Tasks changed, and held from claims, by one transaction."""
LOCK_TIMEOUT_MS = 100
REFUSALS_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What has become of one task."""

    task_id: UUID
    task: Task | None = None
    """As it is now; none where it was refused."""
    outcome: str = ""
    refusal: AbsurdError | None = None

    @property
    def why(self) -> str:
        """Why it could not be done, without naming the task."""
        if not isinstance(self.refusal, InvalidTransition):
            return str(self.refusal)
        return f"it is {self.refusal.current}" + (f"; {self.refusal.hint}" if self.refusal.hint else "")


OnChange = Callable[[Sequence[TaskResult]], object]


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """An operation with its params and actor, to be done to tasks chunk by chunk."""

    operation: TaskOperation[Any]
    params: Params
    actor: str
    on_change: OnChange | None = None
    """Called with what was changed, in the same transaction."""
    dry_run: bool = False
    """Whether everything is undone again."""

    def each(self, task_ids: Iterable[UUID]) -> Iterator[list[TaskResult]]:
        """Do it to chunk after chunk, and yield the results of each in the order of the ids."""
        ids = iter(task_ids)
        while chunk := list(dict.fromkeys(islice(ids, CHUNK))):
            done = self._together(chunk)
            for task_id in chunk:
                if task_id not in done:
                    done[task_id] = self._alone(task_id)
            yield [done[task_id] for task_id in chunk]

    def _together(self, task_ids: Sequence[UUID]) -> dict[UUID, TaskResult]:
        """Do it to those that nobody else holds, unless that takes waiting."""
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_TIMEOUT_MS}ms"])
                free = locked_now(task_ids)
                return self._do([free[task_id] for task_id in task_ids if task_id in free])
        except OperationalError as error:
            if isinstance(error.__cause__, LockNotAvailable):
                return {}
            raise

    def _alone(self, task_id: UUID) -> TaskResult:
        done: dict[UUID, TaskResult] = {}

        def act(tasks: Sequence[Task]) -> Refusals:
            done.update(self._do(tasks))
            return {}

        try:
            with transaction.atomic():
                do_to_one(task_id, act)
        except AbsurdError as error:
            return TaskResult(task_id=task_id, refusal=error)
        return done[task_id]

    def _do(self, tasks: Sequence[Task]) -> dict[UUID, TaskResult]:
        refused = self.operation.act_on_locked(tasks, self.params, self.actor)
        changed = [
            TaskResult(task_id=task.task_id, task=task, outcome=self.operation.outcome(task))
            for task in tasks
            if task.task_id not in refused
        ]
        if self.on_change is not None and changed:
            self.on_change(changed)
        if self.dry_run:
            transaction.set_rollback(True)
        refusals = [TaskResult(task_id=task_id, refusal=why) for task_id, why in refused.items()]
        return {each.task_id: each for each in (*changed, *refusals)}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A task to which the operation could not be done."""

    task_id: UUID
    why: str


@dataclass(kw_only=True)
class BulkResult:
    """What has become of many tasks."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Tasks by outcome."""
    refused: Counter[str] = field(default_factory=Counter)
    """Tasks to which the operation could not be done, by the reason."""
    refusals: list[Refusal] = field(default_factory=list)
    """The first of them."""
    left: int = 0
    """Tasks that were not reached in time."""

    def add(self, results: Iterable[TaskResult]) -> None:
        """Count the results of a chunk."""
        for each in results:
            if each.refusal is None:
                self.outcomes[each.outcome] += 1
                continue
            self.refused[each.why] += 1
            if len(self.refusals) < REFUSALS_LISTED:
                self.refusals.append(Refusal(task_id=each.task_id, why=each.why))


def act_on_many(
    operation: TaskOperation[Any],
    task_ids: Iterable[UUID],
    params: Params,
    actor: str,
    *,
    on_change: OnChange | None = None,
    pace: Pace | None = None,
) -> BulkResult:
    """Do the operation to each task; nothing that was done is undone by what follows."""
    pace = pace or Pace()
    result, ids = BulkResult(), iter(task_ids)
    until = None if pace.limit_sec is None else time.monotonic() + pace.limit_sec
    chunks = Chunks(operation=operation, params=params, actor=actor, on_change=on_change).each(ids)
    while until is None or time.monotonic() < until:
        results = next(chunks, None)
        if results is None:
            break
        result.add(results)
        if pace.on_progress is not None:
            pace.on_progress(len(results))
    result.left = sum(1 for _ in ids)
    return result


class Span(NamedTuple):
    """Tasks by their keys, both ends included."""

    lowest: int
    highest: int


def span_of(tasks: QuerySet[Task]) -> Span:
    """Return the span of a selection as it is now: what is spawned later lies above it."""
    return Span(0, tasks.order_by("-id").values_list("id", flat=True).first() or 0)


def pages_of(
    tasks: QuerySet[Task], span: Span, *, size: int, children_first: bool = False
) -> Iterator[tuple[list[UUID], Span | None]]:
    """Yield the task ids of a selection a page at a time, oldest first or newest first, with what is left after it."""
    left: Span | None = span
    while left is not None:
        rows = tasks.filter(id__gte=left.lowest, id__lte=left.highest).order_by("-id" if children_first else "id")
        page = list(rows.values_list("id", "task_id")[:size])
        if len(page) < size:
            left = None
        else:
            last = page[-1][0]
            left = Span(left.lowest, last - 1) if children_first else Span(last + 1, left.highest)
        yield [task_id for _, task_id in page], left


def ids_of(tasks: QuerySet[Task], *, children_first: bool = False) -> Iterator[UUID]:
    """Yield the task ids of a selection, oldest first or newest first, a page at a time.

    Tasks spawned meanwhile are left out.
    """
    for page, _ in pages_of(tasks, span_of(tasks), size=PAGE, children_first=children_first):
        yield from page
