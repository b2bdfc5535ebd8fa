"""Operations on queues: pause, resume."""

from __future__ import annotations

from django.db import transaction

from tasks_app.engine import notify
from tasks_app.engine.events import Change, announce
from tasks_app.errors import QueueNotFound
from tasks_app.models import Queue
from tasks_app.operations.operation import Operation, Params, ReasonedParams
from tasks_app.postgresql import clock


class PauseQueue(Operation[ReasonedParams, Queue]):
    """Stops claims from a queue."""

    target_kind = "queue"
    name = "pause"
    label = "Pause"
    effect = "No task of this queue is claimed until it is resumed. Running tasks continue; new ones wait."
    done = "paused"
    permission = "tasks_app.pause_queue"
    event_types = ("paused",)
    params_model = ReasonedParams
    dangerous = True

    def refusal(self, target: Queue) -> str:
        return f"it was paused by {target.paused_by}: {target.pause_reason}" if target.is_paused else ""

    @transaction.atomic
    def act(self, key: str, params: ReasonedParams, actor: str) -> Queue:
        """Pause the queue. Raises QueueNotFound."""
        queue = _locked(key)
        queue.paused_at, queue.paused_by, queue.pause_reason = clock.now(), actor, params.reason
        queue.save(update_fields=["paused_at", "paused_by", "pause_reason"])
        announce(Change(event_type="paused", actor=actor, reason=params.reason), queue_name=key)
        return queue


class ResumeQueue(Operation[Params, Queue]):
    """Lets a queue be claimed from again."""

    target_kind = "queue"
    name = "resume"
    label = "Resume"
    effect = "Its tasks are claimed again."
    done = "resumed"
    permission = "tasks_app.pause_queue"
    event_types = ("resumed",)
    params_model = Params

    def refusal(self, target: Queue) -> str:
        return "" if target.is_paused else "it is not paused"

    @transaction.atomic
    def act(self, key: str, params: Params, actor: str) -> Queue:
        """Resume the queue. Raises QueueNotFound."""
        queue = _locked(key)
        queue.paused_at, queue.paused_by, queue.pause_reason = None, "", ""
        queue.save(update_fields=["paused_at", "paused_by", "pause_reason"])
        announce(Change(event_type="resumed", actor=actor, reason=params.reason), queue_name=key)
        notify.wake_workers([key])
        return queue


def _locked(name: str) -> Queue:
    queue = Queue.objects.select_for_update().filter(name=name).first()
    if queue is None:
        raise QueueNotFound(name)
    return queue


pause, resume = PauseQueue(), ResumeQueue()
