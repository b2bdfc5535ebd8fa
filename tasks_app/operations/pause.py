"""Pause and resume a queue."""

from __future__ import annotations

from django.db import transaction

from tasks_app.engine import notify
from tasks_app.engine.events import Change, announce
from tasks_app.errors import QueueNotFound
from tasks_app.models import Queue
from tasks_app.operations.reasons import check_reason
from tasks_app.postgresql import clock


def pause(name: str, *, actor: str, reason: str) -> Queue:
    """Stop claims from the queue; what runs goes on, and spawns are accepted and held.

    Raises QueueNotFound, and ParamsInvalid without a reason.
    """
    check_reason(reason)
    with transaction.atomic():
        queue = _locked(name)
        queue.paused_at, queue.paused_by, queue.pause_reason = clock.now(), actor, reason
        queue.save(update_fields=["paused_at", "paused_by", "pause_reason"])
        announce(Change(event_type="paused", actor=actor, reason=reason), queue_name=name)
    return queue


def resume(name: str, *, actor: str, reason: str = "") -> Queue:
    """Let the queue be claimed from again. Raises QueueNotFound."""
    with transaction.atomic():
        queue = _locked(name)
        queue.paused_at, queue.paused_by, queue.pause_reason = None, "", ""
        queue.save(update_fields=["paused_at", "paused_by", "pause_reason"])
        announce(Change(event_type="resumed", actor=actor, reason=reason), queue_name=name)
        notify.wake_workers([name])
    return queue


def _locked(name: str) -> Queue:
    queue = Queue.objects.select_for_update().filter(name=name).first()
    if queue is None:
        raise QueueNotFound(name)
    return queue
