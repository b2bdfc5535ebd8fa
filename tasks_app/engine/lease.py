"""What a worker writes about a task while it holds the claim. Every write is fenced by the claim token."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import Error, connection, transaction

from tasks_app import cleaning
from tasks_app.engine.claim import Claim
from tasks_app.engine.events import Change, record
from tasks_app.errors import LostClaim, TaskNotFound
from tasks_app.models import Attempt, Task, TaskStatus
from tasks_app.models.task import FailureClass
from tasks_app.postgresql import clock, outages

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """The answer to one renewal: claims still held, those lost, and those an operator wants stopped."""

    held: frozenset[UUID] = field(default_factory=frozenset)
    lost: frozenset[UUID] = field(default_factory=frozenset)
    cancel_requested: frozenset[UUID] = field(default_factory=frozenset)


_RENEW = """
WITH held AS (
    SELECT id FROM tasks_app_task
    WHERE claim_token = ANY(%s::uuid[]) AND status = 'claimed' ORDER BY id FOR UPDATE
)
UPDATE tasks_app_task SET lease_until = absurd_now() + lease_sec * interval '1 second'
WHERE id = ANY(ARRAY(SELECT id FROM held))
RETURNING task_id, cancel_requested_at IS NOT NULL
"""


def renew_leases(claims: Sequence[Claim], *, is_held: Callable[[Claim], bool] = lambda _: True) -> Renewal:
    """Extend the leases of all claims in one statement and learn which are lost or to be cancelled.

    `is_held` tells whether the caller still needs a claim that was not found: another of its threads may have given it
    back meanwhile, and then it is not lost.
    """
    if not claims:
        return Renewal()
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, [[c.claim_token for c in claims]])
        rows = cursor.fetchall()
    held = frozenset(task_id for task_id, _ in rows)
    lost = frozenset(c.task_id for c in claims if c.task_id not in held and is_held(c))
    for gone in (c for c in claims if c.task_id in lost):
        try:
            refuse(gone, "renewal")
        except Error as error:
            # The note of one lost claim is not worth the leases of the others.
            if outages.is_disconnect(error):
                raise
            logger.warning("the refusal of a renewal of task %s was not recorded: %s", gone.task_id, error)
    return Renewal(held=held, lost=lost, cancel_requested=frozenset(task_id for task_id, asked in rows if asked))


def report_progress(
    claim: Claim, *, fraction: float | None, message: str, metrics: Mapping[str, float] | None = None
) -> None:
    """Store how far a running attempt is, with numbers of its own. Raises LostClaim."""
    columns: dict[str, Any] = {
        "progress": None if fraction is None else min(1.0, max(0.0, fraction)),
        "progress_message": cleaning.text(message, 300),
    }
    numbers = dict(metrics or {})
    with fenced(claim, "progress") as task:
        Task.objects.filter(pk=task.pk).update(**columns, progress_metrics=numbers)
        if numbers:
            columns["progress_metrics"] = numbers
        record(task, Change(event_type="progress", actor=claim.actor), to_status=TaskStatus.CLAIMED, update=columns)


def note_stop(claim: Claim, *, failure_class: str, reason: str, asked_ago_sec: float, takes_sec: float) -> None:
    """Store why an attempt is being stopped, since when, and by when its slot is free. Raises LostClaim."""
    with fenced(claim, "stop") as task:
        if failure_class == FailureClass.CANCELLED:
            reason = cancelled_by(task) or reason
        asked_at = clock.now() - timedelta(seconds=asked_ago_sec)
        Attempt.objects.filter(claim_token=claim.claim_token).update(
            stop_asked_at=asked_at,
            stop_due_at=asked_at + timedelta(seconds=takes_sec),
            stop_reason=cleaning.text(reason, 500),
        )


def note_held(claim: Claim, processes: str) -> None:
    """Note that processes of an attempt that is being stopped outlive SIGKILL, and its slot with them.

    Raises LostClaim.
    """
    with fenced(claim, "stop"):
        attempt = Attempt.objects.select_for_update().get(claim_token=claim.claim_token)
        held = (
            f"killed processes have not ended since {clock.stamp(clock.now())} (pid, state, where, name): "
            f"{cleaning.text(processes)}"
        )
        attempt.stop_reason = f"{attempt.stop_reason[:250]}; {held}"[:500]
        attempt.stop_due_at = None
        attempt.save(update_fields=["stop_reason", "stop_due_at"])


def start_attempt(claim: Claim, *, directory: str, log_path: str) -> None:
    """Note where the attempt works and writes its log. Raises LostClaim."""
    with fenced(claim, "start"):
        Attempt.objects.filter(claim_token=claim.claim_token).update(directory=directory, log_path=log_path)


def cancelled_by(task: Task) -> str:
    """Return who wanted the task cancelled and why; nothing when nobody did."""
    if task.cancel_requested_at is None:
        return ""
    reason = f": {task.cancel_reason}" if task.cancel_reason else ""
    return f"cancelled by {task.cancel_requested_by}{reason}"


@contextmanager
def fenced(claim: Claim, action: str) -> Iterator[Task]:
    """Lock the task for a worker's write, or record the refusal and raise LostClaim."""
    with transaction.atomic():
        task = Task.objects.select_for_update(of=("self",)).select_related("run").filter(task_id=claim.task_id).first()
        if task is None:
            raise TaskNotFound(claim.task_id)
        if task.status == TaskStatus.CLAIMED and task.claim_token == claim.claim_token:
            yield task
            return
    refuse(claim, action)
    raise LostClaim(claim.task_id, action)


def refuse(claim: Claim, action: str) -> None:
    """Record that a write of a claim that is lost was refused."""
    with transaction.atomic():
        task = Task.objects.select_related("run").filter(task_id=claim.task_id).first()
        if task is None:
            return
        holder = (
            f"claim {task.claim_epoch} is now valid" if task.status == TaskStatus.CLAIMED else f"it is {task.status}"
        )
        reason = f"late {action} of claim {claim.attempt} refused: {holder}"
        record(task, Change(event_type="refused", actor=claim.actor, reason=reason))
