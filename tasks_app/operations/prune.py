"""Move old tasks to the archive and delete older ones from it, at once instead of by the sweeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import transaction

from tasks_app.engine.events import Change, announce
from tasks_app.errors import QueueNotFound
from tasks_app.maintenance import archiving, retention
from tasks_app.maintenance.archiving import BATCH, Counts
from tasks_app.maintenance.retention import Deleted, Policy
from tasks_app.models import Queue

WORKERS_AT_ONCE = 20


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was moved and forgotten, or would be."""

    moved: Counts = field(default_factory=Counts)
    """Tasks by queue and status."""
    forgotten: Deleted = field(default_factory=Deleted)


def preview(policy: Policy) -> Pruned:
    """Return what `prune` would do now, exactly. Raises QueueNotFound."""
    _check_queue(policy)
    return Pruned(moved=archiving.count_due(policy), forgotten=retention.count_due(policy))


def prune(
    policy: Policy, *, actor: str, batch: int = BATCH, on_progress: Callable[[int], object] | None = None
) -> Pruned:
    """Archive everything that is due and forget what may be, in small transactions, each followed by `on_progress`.

    Safe to interrupt, and to run twice at once. Raises QueueNotFound.
    """
    _check_queue(policy)
    forgotten, moved = _forget_workers(policy), Counts()
    step = archiving.archive_batch(policy, limit=batch)
    while True:
        moved += step.moved
        if on_progress:
            on_progress(step.moved.total())
        if step.place is None:
            break
        step = archiving.archive_batch(policy, after=step.place, limit=batch)
    if moved:
        _record(policy, moved, actor)
    return Pruned(moved=moved, forgotten=forgotten + _forget(policy, batch))


def _forget_workers(policy: Policy) -> Deleted:
    """Forget those that nothing names before anything moves, as the preview counts them."""
    forgotten = Deleted()
    while workers := retention.purge_workers(policy, WORKERS_AT_ONCE):
        forgotten += Deleted(workers=workers)
    return forgotten


def _forget(policy: Policy, batch: int) -> Deleted:
    forgotten = Deleted()
    while keys := retention.purge_keys(policy, batch):
        forgotten += Deleted(keys=keys)
    while (gone := retention.purge_archive(policy, batch)).tasks:
        forgotten += gone
    return forgotten


@transaction.atomic
def _record(policy: Policy, moved: Counts, actor: str) -> None:
    detail = {"tasks": moved.total(), "task_days": policy.task_days, "failed_days": policy.failed_days}
    announce(Change(event_type="archived", actor=actor, detail=detail), queue_name=policy.queue_name or "")


def _check_queue(policy: Policy) -> None:
    if policy.queue_name is not None and not Queue.objects.filter(name=policy.queue_name).exists():
        raise QueueNotFound(policy.queue_name)
