"""What operators do to many tasks at once: in chunks, each of which is one short transaction.

A chunk takes the rows that nobody else holds, all in one statement, and changes them in a few more. While it holds them
it waits for no other lock longer than a tenth of a second, which is less than the server takes to look for a deadlock:
in a circle the chunk gives up and is undone. What it did not get is then done one task after the other.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet
from psycopg.errors import LockNotAvailable

from tasks_app.engine.lookup import Refusals, do_to_one, locked_now
from tasks_app.errors import AbsurdError, InvalidTransition
from tasks_app.models import Task, TaskStatus
from tasks_app.models.task import FINISHED
from tasks_app.operations.cancel import cancel_locked
from tasks_app.operations.reprioritize import reprioritize_locked
from tasks_app.operations.requeue import requeue_locked
from tasks_app.operations.retry import RETRIED, retry_locked

PAGE = 500
CHUNK = 100
"""Number of tasks that one transaction changes and keeps from claims."""
PATIENCE_MS = 100
REFUSALS_TOLD = 20
GROWTH_MOST = 1.1
"""A selection may grow by a tenth between the look at it and the deed."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """Something that is done to tasks."""

    name: str
    permission: str
    """Of Django, for people."""
    act: Callable[[Sequence[Task], str, Mapping[str, Any]], Refusals]
    """Called with locked tasks, the actor, and what was given: always a reason."""
    outcome: Callable[[Task], str]
    """What has become of a task that did not refuse."""
    possible: frozenset[str]
    """The stored statuses in which it can be done."""
    children_first: bool = False
    """Whether tasks come before those that they wait for."""

    def refusal(self, task: Task) -> str:
        """Why it cannot be done to the task now; empty when it can."""
        return "" if task.status in self.possible else f"it is {task.display_status}"


UNFINISHED = frozenset(set(TaskStatus.values) - FINISHED)
CANCEL = Verb(
    name="cancel",
    permission="tasks_app.cancel_task",
    act=lambda tasks, actor, given: cancel_locked(tasks, actor=actor, reason=given["reason"]),
    outcome=lambda task: "cancelled" if task.status == TaskStatus.CANCELLED else "asked to stop",
    possible=UNFINISHED,
    children_first=True,
)
RETRY = Verb(
    name="retry",
    permission="tasks_app.retry_task",
    act=lambda tasks, actor, given: retry_locked(tasks, actor=actor, reason=given["reason"]),
    outcome=lambda _: "returned to the queue",
    possible=frozenset(RETRIED),
)
REPRIORITIZE = Verb(
    name="reprioritize",
    permission="tasks_app.reprioritize_task",
    act=lambda tasks, actor, given: reprioritize_locked(tasks, given["priority"], actor=actor, reason=given["reason"]),
    outcome=lambda task: f"given priority {task.priority}",
    possible=UNFINISHED,
)
REQUEUE = Verb(
    name="requeue",
    permission="tasks_app.requeue_task",
    act=lambda tasks, actor, given: requeue_locked(
        tasks, actor=actor, reason=given["reason"], force=bool(given.get("force"))
    ),
    outcome=lambda task: "returned to the queue" if task.status == TaskStatus.PENDING else f"now {task.status}",
    possible=frozenset({TaskStatus.CLAIMED}),
)
VERBS = {verb.name: verb for verb in (CANCEL, RETRY, REPRIORITIZE, REQUEUE)}


@dataclass(frozen=True, kw_only=True)
class Done:
    """How it went with one task."""

    task_id: UUID
    task: Task | None = None
    """As it is now; none where it was refused."""
    outcome: str = ""
    """What has become of it."""
    refusal: AbsurdError | None = None

    @property
    def why(self) -> str:
        """Why it could not be done, without naming the task."""
        if not isinstance(self.refusal, InvalidTransition):
            return str(self.refusal)
        return f"it is {self.refusal.current}" + (f"; {self.refusal.hint}" if self.refusal.hint else "")


Also = Callable[[Sequence[Done]], object]


@dataclass(frozen=True, kw_only=True)
class Deed:
    """A verb, with who does it and all that it needs."""

    verb: Verb
    actor: str
    given: Mapping[str, Any]
    also: Also | None = None
    """Called with what was changed, in the same transaction."""
    rehearsed: bool = False
    """Whether everything is undone again."""

    def each(self, task_ids: Iterable[UUID]) -> Iterator[list[Done]]:
        """Do it to chunk after chunk, and yield how it went with each of its tasks, in their order."""
        ids = iter(task_ids)
        while chunk := list(dict.fromkeys(islice(ids, CHUNK))):
            done = self._together(chunk)
            for task_id in chunk:
                if task_id not in done:
                    done[task_id] = self._alone(task_id)
            yield [done[task_id] for task_id in chunk]

    def _together(self, task_ids: Sequence[UUID]) -> dict[UUID, Done]:
        """Do it to those that nobody else holds, unless that takes waiting."""
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{PATIENCE_MS}ms"])
                free = locked_now(task_ids)
                return self._do([free[task_id] for task_id in task_ids if task_id in free])
        except OperationalError as error:
            if isinstance(error.__cause__, LockNotAvailable):
                return {}
            raise

    def _alone(self, task_id: UUID) -> Done:
        done: dict[UUID, Done] = {}

        def act(tasks: Sequence[Task]) -> Refusals:
            done.update(self._do(tasks))
            return {}

        try:
            with transaction.atomic():
                do_to_one(task_id, act)
        except AbsurdError as error:
            return Done(task_id=task_id, refusal=error)
        return done[task_id]

    def _do(self, tasks: Sequence[Task]) -> dict[UUID, Done]:
        refused = self.verb.act(tasks, self.actor, self.given)
        changed = [
            Done(task_id=task.task_id, task=task, outcome=self.verb.outcome(task))
            for task in tasks
            if task.task_id not in refused
        ]
        if self.also is not None and changed:
            self.also(changed)
        if self.rehearsed:
            transaction.set_rollback(True)
        refusals = [Done(task_id=task_id, refusal=why) for task_id, why in refused.items()]
        return {each.task_id: each for each in (*changed, *refusals)}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A task to which it could not be done."""

    task_id: UUID
    why: str


@dataclass(kw_only=True)
class Result:
    """How it went."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Tasks by outcome."""
    refused: Counter[str] = field(default_factory=Counter)
    """Tasks to which it could not be done, by the reason."""
    refusals: list[Refusal] = field(default_factory=list)
    """The first of them."""
    left: int = 0
    """Tasks that were not reached in time."""

    def add(self, done: Iterable[Done]) -> None:
        """Count what was done."""
        for each in done:
            if each.refusal is None:
                self.outcomes[each.outcome] += 1
                continue
            self.refused[each.why] += 1
            if len(self.refusals) < REFUSALS_TOLD:
                self.refusals.append(Refusal(task_id=each.task_id, why=each.why))


def carry_out(
    verb: Verb,
    task_ids: Iterable[UUID],
    *,
    actor: str,
    given: Mapping[str, Any],
    also: Also | None = None,
    limit_sec: float | None = None,
    tell: Callable[[int], object] | None = None,
) -> Result:
    """Do it to each task and tell how each went; `also` is called with what was changed, in the same transaction.

    `tell` hears how many more tasks have been dealt with. After `limit_sec` the rest is left alone and counted. Nothing
    that happened is undone.
    """
    result, ids = Result(), iter(task_ids)
    until = None if limit_sec is None else time.monotonic() + limit_sec
    chunks = Deed(verb=verb, actor=actor, given=given, also=also).each(ids)
    while until is None or time.monotonic() < until:
        done = next(chunks, None)
        if done is None:
            break
        result.add(done)
        if tell is not None:
            tell(len(done))
    result.left = sum(1 for _ in ids)
    return result


def ids_of(tasks: QuerySet[Task], *, children_first: bool = False) -> Iterator[UUID]:
    """Yield the task ids of a selection in the order of their making, or the other way, a page at a time.

    Nothing spawned meanwhile is met.
    """
    last = tasks.order_by("-id").values_list("id", flat=True).first()
    lowest, highest = 0, last or 0
    while True:
        rows = tasks.filter(id__gt=lowest, id__lte=highest).order_by("-id" if children_first else "id")
        page = list(rows.values_list("id", "task_id")[:PAGE])
        yield from (task_id for _, task_id in page)
        if len(page) < PAGE:
            return
        lowest, highest = (lowest, page[-1][0] - 1) if children_first else (page[-1][0], highest)


def has_grown(expected: int, count: int, *, spare: int = 0) -> bool:
    """Whether a selection has grown too much since somebody agreed to it; `spare` tasks more are none the less fine."""
    return count > max(expected * GROWTH_MOST, expected + spare)
