"""Operations on queues: pause, resume."""

from __future__ import annotations

from abc import abstractmethod

from django.db import transaction

from tasks_app.engine import notify
from tasks_app.engine.events import announce
from tasks_app.errors import QueueNotFound
from tasks_app.models import Queue
from tasks_app.operations.operation import Operation, P, Params, ReasonedParams, row_of
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
