"""What becomes of a task whose attempt did not complete: the policies, applied to a locked row.

Hosts that lacked what a task needs are not given it again for a time, which grows with each attempt there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from tasks_app import cleaning, formats
from tasks_app.engine import backoff, registry
from tasks_app.engine.backoff import Verdict
from tasks_app.engine.claim import Claim
from tasks_app.engine.events import Change
from tasks_app.engine.lease import cancelled_by, fenced
from tasks_app.engine.move import Move, move_many
from tasks_app.models import Hold, Task, TaskStatus, Worker
from tasks_app.models.task import FailureClass
from tasks_app.postgresql import clock, statements


@dataclass(frozen=True, kw_only=True)
class AttemptReport:
    """What is kept of an attempt beside its outcome."""

    traceback: str = ""
    exit_code: int | None = None
    signal: str = ""
    log_tail: str = ""
    peak_rss_bytes: int | None = None
    cpu_sec: float | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    stack: str = ""

    def __post_init__(self) -> None:
        for name in ("traceback", "log_tail", "stack"):
            object.__setattr__(self, name, cleaning.text(getattr(self, name), cleaning.TRACEBACK_CHARS_MOST))

    def columns(self) -> dict[str, Any]:
        """The report as columns of Attempt."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A locked claimed task whose attempt did not complete, and how."""

    task: Task
    failure_class: str
    message: str
    report: AttemptReport = field(default_factory=AttemptReport)
    final: bool = False
    """Not tried again, whatever the policies say."""


def settle_failure(
    task: Task, failure_class: str, message: str, *, actor: str, report: AttemptReport, final: bool = False
) -> None:
    """Apply the retry policy to a locked claimed task whose attempt did not complete; `final`: it is not retried."""
    failure = Failure(task=task, failure_class=failure_class, message=message, report=report, final=final)
    settle_failures([failure], actor=actor)


def settle_failures(failures: Sequence[Failure], *, actor: str) -> None:
    """Apply the retry policies to locked claimed tasks, many at once."""
    moment = clock.now()
    move_many([_settled(each, actor, moment) for each in failures])


def _settled(failure: Failure, actor: str, moment: datetime) -> Move:
    task, failure_class = failure.task, failure.failure_class
    message = cleaning.text(failure.message)
    verdict = _verdict(failure)
    fields: dict[str, Any] = {}
    if verdict.to == "pending":
        fields = _next_try(task, failure_class, moment, counted=verdict.counts_as_retry)
        if failure_class == "unavailable":
            fields["unavailable_on"] = note_unavailable(task, message, moment)
        if task.deadline_at is not None and fields.get("runnable_at", moment) >= task.deadline_at:
            verdict, fields = Verdict(to="failed", counts_as_crash=verdict.counts_as_crash), {}
            message = f"{message}\nnot retried: its total timeout ends at {clock.stamp(task.deadline_at)}"
    if verdict.to == "cancelled":
        message = _cancelled(task, failure_class, message)
    ended_as = "cancelled" if verdict.to == "cancelled" else failure_class
    fields.update(
        retry_count=task.retry_count + verdict.counts_as_retry,
        crash_count=task.crash_count - (not verdict.counts_as_crash),
        error=message,
        failure_class=ended_as,
    )
    if verdict.quarantined:
        fields["quarantined_at"] = moment
    returned = "retrying" if verdict.counts_as_retry else "returned"
    event_type = {"pending": returned}.get(verdict.to, verdict.to)
    reason = task.cancel_reason if verdict.to == "cancelled" else message.split("\n", 1)[0][:500]
    detail: dict[str, Any] = {"failure_class": failure_class, "quarantined": verdict.quarantined}
    if "runnable_at" in fields:
        detail["next_try_at"] = clock.stamp(fields["runnable_at"])
    return Move(
        task=task,
        to=TaskStatus(verdict.to),
        act=Change(event_type=event_type, actor=actor, reason=reason, detail=detail),
        fields=fields,
        attempt={"outcome": ended_as, "error": message, **failure.report.columns()},
    )


def _verdict(failure: Failure) -> Verdict:
    task = failure.task
    spec = registry.find(task.task_name)
    return backoff.judge(
        failure.failure_class,
        retry_count=task.retry_count,
        max_retries=task.max_retries,
        crash_count=task.crash_count,
        cancel_requested=task.cancel_requested_at is not None,
        retried=() if failure.final else backoff.RETRIED if spec is None or spec.retried is None else spec.retried,
    )


def _cancelled(task: Task, failure_class: str, message: str) -> str:
    """Return who cancelled it, and how its attempt ended where that was not by the cancel."""
    text = cancelled_by(task) or message
    return text if failure_class == "cancelled" else f"{text}\nits attempt ended as {failure_class}: {message}"


def _next_try(task: Task, failure_class: str, moment: datetime, *, counted: bool) -> dict[str, Any]:
    if not counted:
        return {"hold": 0}
    runnable_at = moment + timedelta(seconds=_backoff_sec(task))
    fields = {"hold": Hold.FUTURE, "runnable_at": runnable_at, "rank": backoff.rank(task.priority, runnable_at)}
    if failure_class == "memory":
        fields.update(memory_gb=_more_memory_gb(task))
    return fields


def _backoff_sec(task: Task) -> float:
    spec = registry.find(task.task_name)
    base_sec = spec.backoff_base_sec if spec and spec.backoff_base_sec is not None else None
    cap_sec = spec.backoff_cap_sec if spec and spec.backoff_cap_sec is not None else None
    return backoff.backoff_sec(
        task.retry_count + 1,
        base_sec=settings.ABSURD_BACKOFF_BASE_SEC if base_sec is None else base_sec,
        cap_sec=settings.ABSURD_BACKOFF_CAP_SEC if cap_sec is None else cap_sec,
    )


def _more_memory_gb(task: Task) -> float:
    """Return what the next attempt asks for: more, but no more than the largest host that is up can give."""
    serving = Worker.objects.filter(stopped_at=None, queues__contains=[task.queue_id])
    most_gb = max(serving.values_list("memory_gb", flat=True), default=task.memory_gb)
    return max(task.memory_gb, min(most_gb, task.memory_gb * backoff.MEMORY_GROWTH))


def fail_attempt(claim: Claim, failure_class: str, message: str, report: AttemptReport, *, final: bool = False) -> Task:
    """End the attempt with a failure class; policy decides whether the task is retried, failed, cancelled or returned.

    A `final` failure is not retried, whatever its class.
    Raises LostClaim when another claim holds the task.
    """
    with fenced(claim, failure_class) as task:
        settle_failure(task, failure_class, message, actor=claim.actor, report=report, final=final)
    return task


def return_unknown(worker: Worker, known: Collection[UUID]) -> int:
    """Return to the queue, at no charge, the worker's claims beside those with the known tokens; return how many.

    When the connection breaks at the commit of a claim, the claim may hold although its worker never heard of it.
    """
    with transaction.atomic():
        mine = Task.objects.filter(worker_id=worker.pk, status=TaskStatus.CLAIMED).exclude(claim_token__in=known)
        tasks = list(mine.order_by("id").select_for_update(of=("self",)).select_related("run"))
        for task in tasks:
            message = "the connection was lost during the claim, and its worker returned the task without starting it"
            actor = f"worker:{worker.label}"
            settle_failure(task, FailureClass.DRAINED, message, actor=actor, report=AttemptReport())
    return len(tasks)


FIRST_SEC = 15.0
MOST_SEC = 600.0
REASON_CHARS = 200


def note_unavailable(task: Task, reason: str, moment: datetime) -> dict[str, Any]:
    """Return `Task.unavailable_on` after an attempt that ended as unavailable on the host of the task's worker."""
    worker: Worker | None = task.worker
    before: dict[str, Any] = task.unavailable_on
    if worker is None:
        return before
    times = before.get(worker.host_id, {}).get("times", 0) + 1
    wait_sec = min(MOST_SEC, FIRST_SEC * 2.0 ** min(times - 1, 30))
    entry = {
        "host": worker.host,
        "until": clock.stamp(moment + timedelta(seconds=wait_sec)),
        "times": times,
        "reason": formats.first_line(reason, REASON_CHARS),
    }
    return {**before, worker.host_id: entry}


_FORGET_UNAVAILABLE = """
UPDATE tasks_app_task SET unavailable_on = unavailable_on - %(host_id)s::text
WHERE status = 'pending' AND unavailable_on <> '{}' AND jsonb_exists(unavailable_on, %(host_id)s::text)
RETURNING id
"""


def forget_unavailable(host_id: str) -> int:
    """Let a host that has changed try again at once what it could not do; return how many tasks that concerns."""
    return len(statements.run(_FORGET_UNAVAILABLE, {"host_id": host_id}))
