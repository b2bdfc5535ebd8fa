"""What a worker may do with tasks: claim, renew, report, complete, fail. Every write is fenced by the claim token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from tasks_app import clock, policies, registry, transitions
from tasks_app.errors import LostClaim, TaskNotFound
from tasks_app.models import Attempt, Hold, Task, TaskStatus, Worker
from tasks_app.transitions import Act, move, record

MEMORY_CLASSES = tuple(range(12))


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A task in a worker's hands, with all that its attempt needs."""

    task_id: UUID
    claim_token: UUID
    attempt: int
    task_name: str
    queue_name: str
    params: dict[str, Any]
    timeout_sec: int
    lease_sec: int
    memory_gb: float
    cores: int
    worker_label: str

    @property
    def actor(self) -> str:
        """How events name the worker."""
        return f"worker:{self.worker_label}"


@dataclass(frozen=True, kw_only=True)
class AttemptReport:
    """What is kept of an attempt beside its outcome."""

    traceback: str = ""
    exit_code: int | None = None
    signal: str = ""
    log_tail: str = ""
    peak_rss_bytes: int | None = None
    cpu_sec: float | None = None

    def columns(self) -> dict[str, Any]:
        """The report as columns of Attempt."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """The answer to one renewal: claims still held, those lost, and those an operator wants stopped."""

    held: frozenset[UUID] = field(default_factory=frozenset)
    lost: frozenset[UUID] = field(default_factory=frozenset)
    cancel_requested: frozenset[UUID] = field(default_factory=frozenset)


def claim(worker: Worker, *, limit: int, memory_classes: Sequence[int] = MEMORY_CLASSES) -> list[Claim]:
    """Claim up to `limit` tasks from the worker's queues, most urgent first."""
    if limit < 1:
        return []
    rows = transitions.claim(
        worker_pk=worker.pk, label=worker.label, queues=worker.queues, memory_classes=memory_classes, limit=limit
    )
    tasks = {task.task_id: task for task in Task.objects.filter(task_id__in=[task_id for task_id, _ in rows])}
    return [_claim_of(tasks[task_id], token, worker.label) for task_id, token in rows]


def _claim_of(task: Task, token: UUID, label: str) -> Claim:
    return Claim(
        task_id=task.task_id,
        claim_token=token,
        attempt=task.claim_epoch,
        task_name=task.task_name,
        queue_name=task.queue_id,
        params=with_bindings(task),
        timeout_sec=task.timeout_sec,
        lease_sec=task.lease_sec,
        memory_gb=task.memory_gb,
        cores=task.cores,
        worker_label=label,
    )


def with_bindings(task: Task) -> dict[str, Any]:
    """Return the params with what parents' results fill in; a missing field stays out, for the params check to find."""
    params = dict(task.params)
    wanted = {binding["task_id"] for binding in task.bindings.values()}
    results = {str(t.task_id): t.result for t in Task.objects.filter(task_id__in=wanted).only("task_id", "result")}
    for name, binding in task.bindings.items():
        result = results.get(binding["task_id"])
        if isinstance(result, dict) and binding["field"] in result:
            params[name] = result[binding["field"]]
    return params


_RENEW = """
UPDATE tasks_app_task AS task SET lease_until = clock_timestamp() + task.lease_sec * interval '1 second'
FROM unnest(%s::uuid[], %s::uuid[]) AS mine(task_id, claim_token)
WHERE task.task_id = mine.task_id AND task.claim_token = mine.claim_token AND task.status = 'claimed'
RETURNING task.task_id, task.cancel_requested_at IS NOT NULL
"""


def renew(claims: Sequence[Claim]) -> Renewal:
    """Extend the leases of all claims in one statement and learn which are lost or to be cancelled."""
    if not claims:
        return Renewal()
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, [[c.task_id for c in claims], [c.claim_token for c in claims]])
        rows = cursor.fetchall()
    held = frozenset(task_id for task_id, _ in rows)
    lost = frozenset(c.task_id for c in claims) - held
    for gone in (c for c in claims if c.task_id in lost):
        _refuse(gone, "renewal")
    return Renewal(held=held, lost=lost, cancel_requested=frozenset(task_id for task_id, asked in rows if asked))


def report_progress(claim: Claim, *, fraction: float | None, message: str) -> None:
    """Store how far a running attempt is. Raises LostClaim."""
    with _fenced(claim, "progress") as task:
        Task.objects.filter(pk=task.pk).update(progress=fraction, progress_message=message[:300])
        record(
            task,
            Act(verb="progress", actor=claim.actor),
            to_status=TaskStatus.CLAIMED,
            update={"progress": fraction, "progress_message": message[:300]},
        )


def start_attempt(claim: Claim, *, directory: str, log_path: str) -> None:
    """Note where the attempt works and writes its log. Raises LostClaim."""
    with _fenced(claim, "start"):
        Attempt.objects.filter(claim_token=claim.claim_token).update(directory=directory, log_path=log_path)


def complete(
    claim: Claim, result: dict[str, Any], report: AttemptReport, *, products: Sequence[Mapping[str, Any]] = ()
) -> Task:
    """Complete the task and, in the same transaction, let its spec's `on_complete` record the products.

    Raises LostClaim when another claim holds the task.
    """
    spec = registry.get(claim.task_name)
    with _fenced(claim, "completion") as task:
        attempt = {"outcome": "completed", **report.columns()}
        act = Act(verb="completed", actor=claim.actor)
        move(task, TaskStatus.COMPLETED, act, attempt=attempt, result=result, error=None, failure_class="")
        if spec.on_complete:
            module, _, function = spec.on_complete.partition(":")
            getattr(import_module(module), function)(task, claim, products)
    return task


def fail(claim: Claim, failure_class: str, message: str, report: AttemptReport) -> Task:
    """End the attempt with a failure class; policy decides whether the task is retried, failed, cancelled or returned.

    Raises LostClaim when another claim holds the task.
    """
    with _fenced(claim, failure_class) as task:
        settle_failure(task, failure_class, message, actor=claim.actor, report=report)
    return task


def settle_failure(task: Task, failure_class: str, message: str, *, actor: str, report: AttemptReport) -> None:
    """Apply the retry policy to a locked claimed task whose attempt did not complete."""
    verdict = policies.judge(
        failure_class,
        retry_count=task.retry_count,
        max_retries=task.max_retries,
        crash_count=task.crash_count,
        cancel_requested=task.cancel_requested_at is not None,
    )
    attempt = {
        "outcome": "cancelled" if verdict.to == "cancelled" else failure_class,
        "error": message,
        **report.columns(),
    }
    fields: dict[str, Any] = {
        "retry_count": task.retry_count + verdict.counts_as_retry,
        "crash_count": task.crash_count + verdict.counts_as_crash,
        "error": message,
        "failure_class": "cancelled" if verdict.to == "cancelled" else failure_class,
    }
    if verdict.to == "pending":
        fields.update(_next_try(task, counted=verdict.counts_as_retry))
    if verdict.quarantined:
        fields["quarantined_at"] = clock.now()
    verb = {"pending": "returned" if failure_class == "drained" else "retrying"}.get(verdict.to, verdict.to)
    reason = task.cancel_reason if verdict.to == "cancelled" else message.split("\n", 1)[0][:500]
    detail = {"failure_class": failure_class, "quarantined": verdict.quarantined}
    move(
        task,
        TaskStatus(verdict.to),
        Act(verb=verb, actor=actor, reason=reason, detail=detail),
        attempt=attempt,
        **fields,
    )


def _next_try(task: Task, *, counted: bool) -> dict[str, Any]:
    if not counted:
        return {"hold": 0}
    runnable_at = clock.now() + timedelta(
        seconds=policies.backoff_sec(task.retry_count + 1, base_sec=settings.ABSURD_BACKOFF_BASE_SEC)
    )
    return {"hold": Hold.FUTURE, "runnable_at": runnable_at, "rank": policies.rank(task.priority, runnable_at)}


@contextmanager
def _fenced(claim: Claim, verb: str) -> Iterator[Task]:
    """Lock the task for a worker's write, or record the refusal and raise LostClaim."""
    with transaction.atomic():
        task = Task.objects.select_for_update(of=("self",)).select_related("run").filter(task_id=claim.task_id).first()
        if task is None:
            raise TaskNotFound(claim.task_id)
        if task.status == TaskStatus.CLAIMED and task.claim_token == claim.claim_token:
            yield task
            return
    _refuse(claim, verb)
    raise LostClaim(claim.task_id, verb)


def _refuse(claim: Claim, verb: str) -> None:
    with transaction.atomic():
        task = Task.objects.select_related("run").filter(task_id=claim.task_id).first()
        if task is None:
            return
        holder = f"claim {task.claim_epoch} holds it" if task.status == TaskStatus.CLAIMED else f"it is {task.status}"
        reason = f"late {verb} of claim {claim.attempt} refused: {holder}"
        record(task, Act(verb="refused", actor=claim.actor, reason=reason))
