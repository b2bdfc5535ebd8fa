"""Operations on queues and on limits: pause, resume; how many tasks of a queue, or of a key, may be claimed at once."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from django.db import transaction
from pydantic import Field

from tasks_app import validation
from tasks_app.engine import limits, notify
from tasks_app.engine.events import announce
from tasks_app.engine.move import admit
from tasks_app.errors import LimitNotFound, ParamsInvalid, QueueNotFound
from tasks_app.models import Limit, LimitSlot, Queue
from tasks_app.operations.operation import Operation, P, Params, R, ReasonedParams, row_of
from tasks_app.postgresql import clock


class QueueOperation(Operation[P, Queue]):
    """Its target's key is the queue's name."""

    target_kind = "queue"
    permission = "tasks_app.pause_queue"

    @transaction.atomic
    def act(self, key: str, params: P, actor: str) -> Queue:
        """Pause or resume the queue. Raises QueueNotFound."""
        queue = row_of(Queue.objects.select_for_update().filter(name=key), QueueNotFound(key))
        self.apply(queue, params, actor)
        queue.save(update_fields=["paused_at", "paused_by", "pause_reason"])
        announce(self.change(params, actor), queue_name=key)
        return queue

    @abstractmethod
    def apply(self, queue: Queue, params: P, actor: str) -> None:
        """Set what the queue's row stores of its pause."""


class PauseQueue(QueueOperation[ReasonedParams]):
    """Stops claims from a queue."""

    name = "pause"
    label = "Pause"
    effect = "No task of this queue is claimed until it is resumed. Running tasks continue; new ones wait."
    done = "paused"
    event_types = ("paused",)
    params_model = ReasonedParams
    dangerous = True

    def refusal(self, target: Queue) -> str:
        return f"it was paused by {target.paused_by}: {target.pause_reason}" if target.is_paused else ""

    def apply(self, queue: Queue, params: ReasonedParams, actor: str) -> None:
        queue.paused_at, queue.paused_by, queue.pause_reason = clock.now(), actor, params.reason


class ResumeQueue(QueueOperation[Params]):
    """Lets a queue be claimed from again."""

    name = "resume"
    label = "Resume"
    effect = "Its tasks are claimed again."
    done = "resumed"
    event_types = ("resumed",)
    params_model = Params

    def refusal(self, target: Queue) -> str:
        return "" if target.is_paused else "it is not paused"

    def apply(self, queue: Queue, params: Params, actor: str) -> None:
        queue.paused_at, queue.paused_by, queue.pause_reason = None, "", ""
        notify.wake_workers([queue.name])


pause, resume = PauseQueue(), ResumeQueue()


SIZE_MOST = 1000


class SizeParams(Params):
    """The number of slots, and the reason."""

    size: int = Field(ge=1, le=SIZE_MOST, description="Tasks claimed at once; to stop everything, pause the queue.")


class LimitOperation(Operation[P, R]):
    """Its target's key is the scope, queue or key, and the name."""

    target_kind = "limit"
    permission = "tasks_app.set_limit"
    scope = "admin"

    def record(self, limit: Limit, params: P, actor: str, before: int | None, after: int | None) -> None:
        """Write the event, with the size before and after."""
        change = self.change(params, actor, **{"scope": limit.scope, "name": limit.name, "from": before, "to": after})
        announce(change, queue_name=limit.name if limit.scope == Limit.Scope.QUEUE else "")


class SetLimit(LimitOperation[SizeParams, Limit]):
    """Makes the limit, or changes its size."""

    name = "set"
    label = "Set"
    effect = "A smaller limit stops nothing that runs: slots above the new size are not used again."
    done = "set"
    event_types = ("limit_set",)
    params_model = SizeParams

    def initial(self, target: Limit) -> dict[str, Any]:
        return {"size": target.size}

    @transaction.atomic
    def act(self, key: tuple[str, str], params: SizeParams, actor: str) -> Limit:
        """Set the limit. Raises ParamsInvalid, or QueueNotFound for a queue that is not there."""
        scope, name = key
        size = params.size
        _check(scope, name)
        if scope == Limit.Scope.QUEUE:
            row_of(Queue.objects.filter(name=name), QueueNotFound(name))
        limit, created = Limit.objects.select_for_update().get_or_create(
            scope=scope, name=name, defaults={"size": size}
        )
        before = None if created else limit.size
        limit.size, limit.explicit = size, True
        limit.save(update_fields=["size", "explicit"])
        present = set(limit.slots.values_list("number", flat=True))
        LimitSlot.objects.bulk_create(
            [LimitSlot(limit=limit, number=n) for n in range(1, size + 1) if n not in present]
        )
        if created:
            limits.adopt(limit)
        limits.trim()
        self.record(limit, params, actor, before, size)
        admit([limit.pk])
        return limit


class RemoveLimit(LimitOperation[Params, None]):
    """Removes a limit; a key's tasks fall back to one at a time."""

    name = "remove"
    label = "Remove"
    effect = "Without a limit all tasks of a queue may run at once, and tasks of a key one at a time."
    done = "removed"
    event_types = ("limit_removed",)
    params_model = Params
    dangerous = True

    def refusal(self, target: Limit) -> str:
        return "" if target.explicit else "it was made for a concurrency key and not set by a person"

    @transaction.atomic
    def act(self, key: tuple[str, str], params: Params, actor: str) -> None:
        """Remove the limit. Raises LimitNotFound."""
        scope, name = key
        rows = Limit.objects.select_for_update().filter(scope=scope, name=name)
        limit = row_of(rows, LimitNotFound(scope, name))
        before = limit.size
        if scope == Limit.Scope.KEY:
            limit.size, limit.explicit = 1, False
            limit.save(update_fields=["size", "explicit"])
            limits.trim()
        else:
            limit.delete()
            limits.unpark(name)
        self.record(limit, params, actor, before, None)
        admit()


def _check(scope: str, name: str) -> None:
    if scope not in Limit.Scope.values:
        raise ParamsInvalid(
            [{"path": "scope", "message": f"must be {' or '.join(Limit.Scope.values)} (got {scope[:60]!r})"}]
        )
    fault = validation.fault_of_name(name) if scope == Limit.Scope.QUEUE else validation.fault_of_key(name)
    if fault:
        raise ParamsInvalid([{"path": "name", "message": fault}])


set_limit, remove_limit = SetLimit(), RemoveLimit()
