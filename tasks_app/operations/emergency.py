"""The emergency stop in one go, and the way back from it.

Both are made of the ordinary verbs and leave their events, so that nothing is done here that could not be undone there.
Each may be repeated: what has been done already is not done again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks_app.engine.events import Change, announce
from tasks_app.errors import AbsurdError, AlreadyFrozen, NotFrozen
from tasks_app.models import Task, TaskEvent, TaskStatus, Worker, WorkerOrder
from tasks_app.models.querysets import TaskQuerySet
from tasks_app.monitoring.workers import recent_workers
from tasks_app.operations import bulk
from tasks_app.operations.freeze import current, freeze, thaw
from tasks_app.operations.reasons import check_reason
from tasks_app.operations.workers import RESUME, order_worker

MARK = "emergency stop: "
"""What the reason of everything begins with that an emergency stop did."""

Tell = Callable[[int], object]


def _tell_nobody(_done: int) -> None:
    return


@dataclass(frozen=True, kw_only=True)
class StopWish:
    """What is to be stopped beyond the freeze."""

    cancel_pending: bool = False
    stop_running: bool = False
    drain_workers: bool = False


@dataclass(frozen=True, kw_only=True)
class StopCounts:
    """What a stop did, or what there is for it to do."""

    pending: int
    running: int
    workers: int
    refused: int = 0
    left: int = 0
    """Of these tasks, those that were not reached in time; the stop may be repeated for them."""


def stop_preview() -> StopCounts:
    """Count what an emergency stop could touch."""
    pending, running = (Task.objects.filter(status=status).count() for status in ("pending", "claimed"))
    return StopCounts(pending=pending, running=running, workers=len(_up()))


def stop(
    wish: StopWish, *, actor: str, reason: str, tell: Tell = _tell_nobody, limit_sec: float | None = None
) -> StopCounts:
    """Freeze everything first, then stop what is wished; `tell` hears of the tasks.

    Raises ParamsInvalid without a reason. What refuses, because it ended in that moment, is counted, and so is what is
    not reached within `limit_sec`.
    """
    began = time.monotonic()
    check_reason(reason)
    given = {"reason": f"{MARK}{reason}"}
    with contextlib.suppress(AlreadyFrozen):
        freeze(actor=actor, reason=reason)
    refused, workers, left = 0, 0, 0
    for worker in _up() if wish.drain_workers else ():
        workers += 1
        refused += not _done(order_worker, worker.pk, WorkerOrder.DRAIN, actor=actor, **given)
    running = _ids("claimed") if wish.stop_running else []
    # Children first, so that none is released by the end of its parents only to be cancelled itself.
    pending = _ids("pending")[::-1] if wish.cancel_pending else []
    for tasks in (running, pending):
        within = None if limit_sec is None else max(0.0, began + limit_sec - time.monotonic())
        done = bulk.carry_out(bulk.CANCEL, tasks, actor=actor, given=given, tell=tell, limit_sec=within)
        refused, left = refused + done.refused.total(), left + done.left
    counts = StopCounts(pending=len(pending), running=len(running), workers=workers, refused=refused, left=left)
    _announce("emergency_stop", actor, reason, counts)
    return counts


@dataclass(frozen=True, kw_only=True)
class RecoverCounts:
    """What a recovery did, or would do."""

    failed: int
    cancelled: int
    workers: int
    thawed: bool
    refused: int = 0
    left: int = 0
    """Of these tasks, those that were not reached in time; nothing resumes until the recovery is repeated."""


def recover_preview(failed: TaskQuerySet, cancelled: Sequence[UUID]) -> RecoverCounts:
    """Count what a recovery would do with these tasks."""
    return RecoverCounts(
        failed=failed.count(), cancelled=len(cancelled), workers=len(_ordered()), thawed=current() is not None
    )


def recover(
    failed: TaskQuerySet,
    cancelled: Sequence[UUID],
    *,
    actor: str,
    reason: str = "",
    tell: Tell = _tell_nobody,
    limit_sec: float | None = None,
) -> RecoverCounts:
    """Retry the tasks, let the workers claim again, and thaw last: a recovery that breaks off leaves all safe."""
    again, given = list(failed.order_by("id").values_list("task_id", flat=True)), {"reason": reason}
    retried = bulk.carry_out(bulk.RETRY, [*again, *cancelled], actor=actor, given=given, tell=tell, limit_sec=limit_sec)
    refused = retried.refused.total()
    workers = [] if retried.left else _ordered()
    for worker in workers:
        refused += not _done(order_worker, worker.pk, RESUME, actor=actor, reason=reason)
    counts = RecoverCounts(
        failed=len(again),
        cancelled=len(cancelled),
        workers=len(workers),
        thawed=not retried.left and _thawed(actor, reason),
        refused=refused,
        left=retried.left,
    )
    _announce("emergency_recovery", actor, reason, counts)
    return counts


def cancelled_by_stop(since: datetime) -> list[UUID]:
    """Return the tasks that emergency stops have cancelled since a moment, parents first."""
    ended = Task.objects.filter(status=TaskStatus.CANCELLED, completed_at__gte=since)
    ids = list(ended.order_by("id").values_list("task_id", flat=True))
    requests = TaskEvent.objects.filter(
        task_id__in=ids,
        event_type__in=("cancelled", "cancel_requested"),
        reason__startswith=MARK,
        created_at__gte=since,
    )
    marked = set(requests.values_list("task_id", flat=True))
    return [task_id for task_id in ids if task_id in marked]


def _ids(status: str) -> list[UUID]:
    return list(Task.objects.filter(status=status).order_by("id").values_list("task_id", flat=True))


def _up() -> list[Worker]:
    return [report.worker for report in recent_workers() if report.state not in ("lost", "stopped")]


def _ordered() -> list[Worker]:
    """Return the workers that were told to pause and can be ordered to resume."""
    return [worker for worker in _up() if worker.ordered == WorkerOrder.PAUSE and not worker.draining]


def _thawed(actor: str, reason: str) -> bool:
    try:
        thaw(actor=actor, reason=reason)
    except NotFrozen:
        return False
    return True


def _done(verb: Callable[..., Any], *arguments: Any, **given: str) -> bool:
    try:
        verb(*arguments, **given)
    except AbsurdError:
        return False
    return True


@transaction.atomic
def _announce(verb: str, actor: str, reason: str, counts: StopCounts | RecoverCounts) -> None:
    announce(Change(event_type=verb, actor=actor, reason=reason, detail=asdict(counts)))
