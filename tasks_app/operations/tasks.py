"""Operations on tasks: cancel, retry, reprioritize, requeue, respawn."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from pydantic import Field

from tasks_app.engine import archive, backoff, dependencies, notify
from tasks_app.engine.bindings import with_bindings
from tasks_app.engine.events import Change, Record, record, record_many
from tasks_app.engine.fail import Failure, settle_failures
from tasks_app.engine.lookup import Refusals, do_to_one, find
from tasks_app.engine.move import Move, move_many, set_ranks
from tasks_app.engine.options import PARTS, TaskOptions
from tasks_app.engine.spawn import options_of, spawn
from tasks_app.errors import InvalidTransition
from tasks_app.models import Hold, Task, TaskDependency, TaskStatus
from tasks_app.models.task import FINISHED, FailureClass
from tasks_app.monitoring.workers import state_of
from tasks_app.operations.operation import Operation, P, Params, partial_params
from tasks_app.postgresql import clock
from tasks_app.validation import PRIORITY_LEAST, PRIORITY_MOST

UNFINISHED = frozenset(set(TaskStatus.values) - FINISHED)
RETRIED = (TaskStatus.FAILED, TaskStatus.CANCELLED)
CAUTION_MOST = 1_000
"""Of how many tasks it is found out, before an operation is done, whether it will be refused."""
GONE = ("lost", "stopped")
"""States of a worker that reports nothing any more, however long its lease."""


class TaskOperation(Operation[P, Task]):
    """An operation on one task, or by `bulk` on many."""

    target_kind = "task"
    possible: ClassVar[frozenset[str]]
    """The stored statuses in which it can be done."""
    chosen: ClassVar[tuple[str, ...]]
    """The statuses of the tasks that conditions select where they do not name any."""
    children_first: ClassVar[bool] = False
    """Whether tasks come before those that they wait for."""

    def refusal(self, target: Task) -> str:
        return "" if target.status in self.possible else f"it is {target.display_status}"

    def caution(self, tasks: QuerySet[Task]) -> str:
        """Return what a person should know before it is done to these tasks; costs one bounded query at most."""
        return ""

    @abstractmethod
    def act_on_locked(self, tasks: Sequence[Task], params: P, actor: str) -> Refusals:
        """Do it to locked tasks; return why not, of those to which it cannot be done."""

    @transaction.atomic
    def act(self, key: UUID, params: P, actor: str) -> Task:
        """Do it to one task. Raises TaskNotFound, or InvalidTransition when its status does not allow it."""
        return do_to_one(key, lambda tasks: self.act_on_locked(tasks, params, actor))


class Cancel(TaskOperation[Params]):
    """Repeating it changes nothing."""

    name = "cancel"
    label = "Cancel"
    effect = "Pending tasks are cancelled at once. Claimed ones are stopped by their workers, and their work is lost."
    permission = "tasks_app.cancel_task"
    event_types = ("cancelled", "cancel_requested")
    params_model = Params
    possible = UNFINISHED
    chosen = ("pending", "claimed")
    dangerous = True
    children_first = True

    def act_on_locked(self, tasks: Sequence[Task], params: Params, actor: str) -> Refusals:
        return cancel_locked(tasks, actor=actor, reason=params.reason)

    def outcome(self, result: Task) -> str:
        return "cancelled" if result.status == TaskStatus.CANCELLED else "asked to stop"


def cancel_locked(tasks: Sequence[Task], *, actor: str, reason: str) -> Refusals:
    """Cancel locked tasks, or ask their workers to stop them; return why not, of those that have finished."""
    pending = [task for task in tasks if task.status == TaskStatus.PENDING]
    claimed = [task for task in tasks if task.status == TaskStatus.CLAIMED]
    finished = [task for task in tasks if task.is_finished]
    act = Change(event_type="cancelled", actor=actor, reason=reason)
    move_many([Move(task=task, to=TaskStatus.CANCELLED, act=act, fields={"hold": 0}) for task in pending])
    _request_cancel([task for task in claimed if task.cancel_requested_at is None], actor, reason)
    return {task.task_id: InvalidTransition(task.task_id, task.status, "cancel") for task in finished}


def _request_cancel(tasks: Sequence[Task], actor: str, reason: str) -> None:
    if not tasks:
        return
    moment = clock.now()
    columns = {"cancel_requested_at": moment, "cancel_requested_by": actor, "cancel_reason": reason}
    Task.objects.filter(pk__in=[task.pk for task in tasks]).update(**columns)
    for task in tasks:
        for name, value in columns.items():
            setattr(task, name, value)
    act = Change(event_type="cancel_requested", actor=actor, reason=reason)
    update = {"cancel_requested_at": clock.stamp(moment)}
    record_many([Record(task=task, act=act, to_status=TaskStatus.CLAIMED, update=update) for task in tasks])


class Retry(TaskOperation[Params]):
    """Gives a fresh set of retries; a quarantine is lifted."""

    name = "retry"
    label = "Retry"
    effect = "Failed and cancelled tasks go back to their queue with the same params and a fresh set of retries."
    done = "returned to the queue"
    permission = "tasks_app.retry_task"
    event_types = ("retried",)
    params_model = Params
    possible = frozenset(RETRIED)
    chosen = ("failed",)

    def act_on_locked(self, tasks: Sequence[Task], params: Params, actor: str) -> Refusals:
        return retry_locked(tasks, actor=actor, reason=params.reason)


def retry_locked(tasks: Sequence[Task], *, actor: str, reason: str) -> Refusals:
    """Return locked tasks to the queue as if one after the other; return why not, of those that are not retried."""
    act = Change(event_type="retried", actor=actor, reason=reason)
    refused: dict[UUID, InvalidTransition] = {}
    batch: list[Task] = []
    roots: set[UUID] = set()
    statuses = {task.pk: task.status for task in tasks}
    for place, task in enumerate(tasks):
        if task.unrunnable_because in roots:
            # One of those before it may be an ancestor that takes it along.
            _retry(batch, act)
            batch, roots = [], set()
            statuses = _statuses(tasks[place:])
        if statuses[task.pk] in RETRIED:
            batch.append(task)
            roots.add(task.unrunnable_because or task.task_id)
        else:
            hint = "wait until its worker has stopped it" if task.cancel_requested_at else ""
            refused[task.task_id] = InvalidTransition(task.task_id, statuses[task.pk], "retry", hint)
    _retry(batch, act)
    return refused


def _statuses(tasks: Sequence[Task]) -> dict[int, str]:
    return dict(Task.objects.filter(pk__in=[task.pk for task in tasks]).values_list("pk", "status"))


def _retry(tasks: Sequence[Task], act: Change) -> None:
    if not tasks:
        return
    moment = clock.now()
    waiting = _with_parents([task for task in tasks if task.joined_at is None])
    held = {task.pk for task in waiting}
    fresh = {
        "runnable_at": moment,
        "retry_count": 0,
        "crash_count": 0,
        "quarantined_at": None,
        "expires_at": None,
        "deadline_at": None,
        "result": None,
        "error": None,
        "failure_class": "",
        "unrunnable_because": None,
    }
    move_many(
        [
            Move(
                task=task,
                to=TaskStatus.PENDING,
                act=act,
                fields={
                    **fresh,
                    "hold": Hold.DEPENDENCY if task.pk in held else 0,
                    "rank": backoff.rank(task.priority, moment),
                },
            )
            for task in tasks
        ]
    )
    # Asked only now, because parents that go back to the queue with them are to be waited for.
    _let_go(dependencies.satisfied(waiting) if waiting else [])


def _with_parents(tasks: Sequence[Task]) -> list[Task]:
    edges = TaskDependency.objects.filter(child_task_id__in=[task.task_id for task in tasks])
    children = set(edges.values_list("child_task_id", flat=True))
    return [task for task in tasks if task.task_id in children]


def _let_go(tasks: Sequence[Task]) -> None:
    Task.objects.filter(pk__in=[task.pk for task in tasks]).update(hold=0)
    for task in tasks:
        task.hold = 0
    notify.wake_workers({task.queue_id for task in tasks})


class PriorityParams(Params):
    """A new priority, and the reason."""

    priority: int = Field(
        ge=PRIORITY_LEAST,
        le=PRIORITY_MOST,
        description="15 to 20 critical, 10 to 14 high, 5 to 9 normal, 1 to 4 low.",
    )


class Reprioritize(TaskOperation[PriorityParams]):
    """Changes tasks' places in the queue."""

    name = "reprioritize"
    label = "Reprioritise"
    effect = "Pending tasks change their place at once; for claimed ones it counts from their next attempt."
    permission = "tasks_app.reprioritize_task"
    event_types = ("reprioritized",)
    params_model = PriorityParams
    possible = UNFINISHED
    chosen = ("pending", "claimed")

    def initial(self, target: Task) -> dict[str, Any]:
        return {"priority": target.priority}

    def act_on_locked(self, tasks: Sequence[Task], params: PriorityParams, actor: str) -> Refusals:
        changed = [task for task in tasks if not task.is_finished]
        records = []
        for task in changed:
            detail = {"from": task.priority, "to": params.priority}
            act = Change(event_type="reprioritized", actor=actor, reason=params.reason, detail=detail)
            records.append(Record(task=task, act=act, to_status=task.status, update={"priority": params.priority}))
            task.priority, task.rank = params.priority, backoff.rank(params.priority, task.runnable_at)
        set_ranks(changed)
        record_many(records)
        finished = [task for task in tasks if task.is_finished]
        return {task.task_id: InvalidTransition(task.task_id, task.status, "reprioritise") for task in finished}

    def outcome(self, result: Task) -> str:
        return f"given priority {result.priority}"


class RequeueParams(Params):
    """Whether a live worker may lose its work, and the reason."""

    force: bool = Field(
        default=False,
        description="Also while the lease is valid: the worker may be running it, and its outcome will be refused.",
    )


class Requeue(TaskOperation[RequeueParams]):
    """Gives stalled claims back without waiting for a sweep; the policy of retries decides what follows."""

    name = "requeue"
    label = "Requeue"
    effect = (
        "Claims whose lease has run out, or whose worker is gone, end as lost. Each counts as a retry; what has none "
        "left fails."
    )
    permission = "tasks_app.requeue_task"
    event_types = ("retrying", "failed")
    params_model = RequeueParams
    possible = frozenset({TaskStatus.CLAIMED})
    chosen = ("claimed",)
    dangerous = True

    def caution(self, tasks: QuerySet[Task]) -> str:
        moment = clock.now()
        claimed = tasks.filter(status=TaskStatus.CLAIMED).select_related("worker").defer("params", "result")
        looked_at = claimed[:CAUTION_MOST]
        held = sum(claim_holds(task, moment) for task in looked_at)
        if not held:
            return ""
        of = f"Of the first {CAUTION_MOST:,}, " if len(looked_at) == CAUTION_MOST else ""
        return f"{of}{held:,} will be refused unless forced: the lease is valid and the worker may be running the task."

    def act_on_locked(self, tasks: Sequence[Task], params: RequeueParams, actor: str) -> Refusals:
        refused: dict[UUID, InvalidTransition] = {}
        lost = []
        moment = clock.now()
        for task in tasks:
            holds = task.status == TaskStatus.CLAIMED and claim_holds(task, moment)
            if task.status != TaskStatus.CLAIMED:
                refused[task.task_id] = InvalidTransition(task.task_id, task.status, "requeue")
            elif task.lease_until is not None and holds and not params.force:
                hint = f"its lease is valid until {clock.stamp(task.lease_until)}; wait, cancel it, or force"
                refused[task.task_id] = InvalidTransition(task.task_id, task.status, "requeue", hint)
            else:
                although = " although its lease was valid" if holds else ""
                message = f"requeued by {actor}{although}: {params.reason or 'no reason given'}"
                lost.append(Failure(task=task, failure_class=FailureClass.LOST, message=message))
        settle_failures(lost, actor=actor)
        return refused

    def outcome(self, result: Task) -> str:
        return "returned to the queue" if result.status == TaskStatus.PENDING else f"now {result.status}"


def claim_holds(task: Task, moment: datetime) -> bool:
    """Return whether a claimed task's lease has not run out and its worker may be at work."""
    gone = task.worker is not None and state_of(task.worker, moment, busy=True) in GONE
    return task.lease_until is not None and task.lease_until > moment and not gone


RespawnParams = partial_params("RespawnParams", "What is different in the copy, and the reason.", TaskOptions, PARTS)


class Respawn(Operation[Params, Task]):
    """The copy stands alone, outside any run: what came from parents' results is in its params, and it waits for none.

    An archived task may be copied too; its own history is closed, so only the copy names it.
    """

    target_kind = "task"
    name = "respawn"
    label = "Respawn"
    effect = "A new task is spawned with these params; the old one stays as it is, and each names the other."
    permission = "tasks_app.respawn_task"
    scope = "spawn"
    event_types = ("respawned", "copied")
    params_model = RespawnParams

    def initial(self, target: Task) -> dict[str, Any]:
        return {**{name: getattr(target, name) for name in PARTS}, "params": with_bindings(target)}

    def options(self, old: Task, params: Params) -> dict[str, Any]:
        """Return the options of the copy that its task name does not decide."""
        changed = {name: value for name in PARTS if (value := getattr(params, name)) is not None}
        return {**self.initial(old), **changed}

    def act(self, key: UUID, params: Params, actor: str) -> Task:
        """Spawn the copy. Raises TaskNotFound and what spawn raises."""
        return self.once(key, params, actor, None)

    @transaction.atomic
    def once(self, key: UUID, params: Params, actor: str, idempotency_key: str | None) -> Task:
        """Spawn the copy, or find the one that the same idempotency key made. Raises as `act` does."""
        old = find(key)
        options = options_of(old, **self.options(old, params), idempotency_key=idempotency_key)
        fresh = spawn(options, actor=actor)
        if not fresh.is_new:
            return fresh
        changed = {"changed": changes(self.initial(old), self.options(old, params))}
        if not archive.is_archived(old):
            detail = {"as": str(fresh.task_id), **changed}
            record(old, Change(event_type="respawned", actor=actor, reason=params.reason, detail=detail))
        detail = {"from": str(old.task_id), **changed}
        record(fresh, Change(event_type="copied", actor=actor, reason=params.reason, detail=detail))
        return fresh

    def outcome(self, result: Task) -> str:
        return f"{result} was spawned as a copy"


CHANGES_MOST = 20
CHANGE_CHARS = 200


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the old and the new value of what differs between a task's options and those of its copy, bounded.

    Params stand under their own names, as in `params.ms_path`; null where a value was or is not given.
    """
    flat = [
        {**options, **{f"params.{name}": each for name, each in options["params"].items()}} for options in (old, new)
    ]
    names = [name for name in dict.fromkeys((*flat[0], *flat[1])) if name != "params"]
    pairs = {name: [each.get(name) for each in flat] for name in names}
    found = {name: [_bounded(each) for each in pair] for name, pair in pairs.items() if pair[0] != pair[1]}
    return dict(list(found.items())[:CHANGES_MOST])


def _bounded(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= CHANGE_CHARS else f"{text[:CHANGE_CHARS]}…"


cancel, retry, reprioritize, requeue, respawn = Cancel(), Retry(), Reprioritize(), Requeue(), Respawn()
