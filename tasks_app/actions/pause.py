"""Pause and resume a queue."""

from __future__ import annotations

from django.db import transaction

from tasks_app import clock
from tasks_app.errors import QueueNotFound
from tasks_app.models import Queue


def pause(name: str, *, actor: str, reason: str) -> Queue:
    """Stop claims from the queue; what runs goes on, and spawns are accepted and held. Raises QueueNotFound."""
    return _set(name, paused=True, actor=actor, reason=reason)


def resume(name: str) -> Queue:
    """Let the queue be claimed from again. Raises QueueNotFound."""
    return _set(name, paused=False, actor="", reason="")


@transaction.atomic
def _set(name: str, *, paused: bool, actor: str, reason: str) -> Queue:
    queue = Queue.objects.select_for_update().filter(name=name).first()
    if queue is None:
        raise QueueNotFound(name)
    queue.paused_at = clock.now() if paused else None
    queue.paused_by = actor
    queue.pause_reason = reason
    queue.save(update_fields=["paused_at", "paused_by", "pause_reason"])
    return queue
