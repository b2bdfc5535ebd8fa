"""Retry: failed or cancelled tasks go back to their queue with the same params."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tasks_app.engine import backoff, dependencies, notify
from tasks_app.engine.events import Change
from tasks_app.engine.lookup import Refusals
from tasks_app.engine.move import Move, move_many
from tasks_app.errors import InvalidTransition
from tasks_app.models import Hold, Task, TaskDependency, TaskStatus
from tasks_app.operations.operation import Params
from tasks_app.operations.tasks import TaskOperation
from tasks_app.postgresql import clock

RETRIED = (TaskStatus.FAILED, TaskStatus.CANCELLED)


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


retry = Retry()
