"""What operators do to many tasks at once: each through its own action, in a transaction of its own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from tasks_app.actions.cancel import cancel
from tasks_app.actions.reprioritize import reprioritize
from tasks_app.actions.requeue import requeue
from tasks_app.actions.retry import retry
from tasks_app.errors import AbsurdError, InvalidTransition
from tasks_app.models import Task, TaskStatus
from tasks_app.models.task import FINISHED

CHUNK = 500
REFUSALS_TOLD = 20
GROWTH_MOST = 1.1
"""A selection may grow by a tenth between the look at it and the deed."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """Something that is done to a task."""

    name: str
    permission: str
    """Of Django, for people."""
    act: Callable[[UUID, str, Mapping[str, Any]], Task]
    """Called with the task id, the actor, and what was given: always a reason."""
    outcome: Callable[[Task], str]
    """What has become of the task."""
    possible: frozenset[str]
    """The stored statuses in which it can be done."""

    def refusal(self, task: Task) -> str:
        """Why it cannot be done to the task now; empty when it can."""
        return "" if task.status in self.possible else f"it is {task.display_status}"


UNFINISHED = frozenset(set(TaskStatus.values) - FINISHED)
CANCEL = Verb(
    name="cancel",
    permission="tasks_app.cancel_task",
    act=lambda task_id, actor, given: cancel(task_id, actor=actor, reason=given["reason"]),
    outcome=lambda task: "cancelled" if task.status == TaskStatus.CANCELLED else "asked to stop",
    possible=UNFINISHED,
)
RETRY = Verb(
    name="retry",
    permission="tasks_app.retry_task",
    act=lambda task_id, actor, given: retry(task_id, actor=actor, reason=given["reason"]),
    outcome=lambda _: "back in the queue",
    possible=frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED}),
)
REPRIORITIZE = Verb(
    name="reprioritize",
    permission="tasks_app.reprioritize_task",
    act=lambda task_id, actor, given: reprioritize(task_id, given["priority"], actor=actor, reason=given["reason"]),
    outcome=lambda task: f"given priority {task.priority}",
    possible=UNFINISHED,
)
REQUEUE = Verb(
    name="requeue",
    permission="tasks_app.requeue_task",
    act=lambda task_id, actor, given: requeue(
        task_id, actor=actor, reason=given["reason"], force=bool(given.get("force"))
    ),
    outcome=lambda task: "back in the queue" if task.status == TaskStatus.PENDING else f"now {task.status}",
    possible=frozenset({TaskStatus.CLAIMED}),
)
VERBS = {verb.name: verb for verb in (CANCEL, RETRY, REPRIORITIZE, REQUEUE)}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A task to which it could not be done."""

    task_id: UUID
    why: str


@dataclass(kw_only=True)
class Result:
    """How it went."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Tasks by what has become of them."""
    refused: Counter[str] = field(default_factory=Counter)
    """Tasks to which it could not be done, by the reason."""
    refusals: list[Refusal] = field(default_factory=list)
    """The first of them."""
    left: int = 0
    """Tasks that were not reached in time."""


def carry_out(
    verb: Verb,
    task_ids: Iterable[UUID],
    *,
    actor: str,
    given: Mapping[str, Any],
    also: Callable[[Task, str], object] | None = None,
    limit_sec: float | None = None,
) -> Result:
    """Do it to each task and tell how each went; `also` is called with each changed task, in its transaction.

    After `limit_sec` the rest is left alone and counted. Nothing that happened is undone.
    """
    result = Result()
    until = None if limit_sec is None else time.monotonic() + limit_sec
    for task_id in task_ids:
        if until is not None and time.monotonic() > until:
            result.left += 1
            continue
        try:
            with transaction.atomic():
                task = verb.act(task_id, actor, given)
                outcome = verb.outcome(task)
                if also is not None:
                    also(task, outcome)
            result.outcomes[outcome] += 1
        except AbsurdError as error:
            why = _why(error)
            result.refused[why] += 1
            if len(result.refusals) < REFUSALS_TOLD:
                result.refusals.append(Refusal(task_id=task_id, why=why))
    return result


def _why(error: AbsurdError) -> str:
    if not isinstance(error, InvalidTransition):
        return str(error)
    return f"it is {error.current}" + (f"; {error.hint}" if error.hint else "")


def ids_of(tasks: QuerySet[Task]) -> Iterator[UUID]:
    """Yield the task ids of a selection in the order of their making, in chunks; nothing spawned meanwhile is met."""
    last = tasks.order_by("-id").values_list("id", flat=True).first()
    reached = 0
    while last is not None:
        chunk = list(tasks.filter(id__gt=reached, id__lte=last).order_by("id").values_list("id", "task_id")[:CHUNK])
        yield from (task_id for _, task_id in chunk)
        if len(chunk) < CHUNK:
            return
        reached = chunk[-1][0]


def has_grown(expected: int, count: int, *, spare: int = 0) -> bool:
    """Whether a selection has grown too much since somebody agreed to it; `spare` tasks more are none the less fine."""
    return count > max(expected * GROWTH_MOST, expected + spare)
