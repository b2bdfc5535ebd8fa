"""What a worker may do with tasks: claim, renew, report, complete, fail. Every write is fenced by the claim token."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from typing import Any
from uuid import UUID

from django.db import Error, connection, transaction

from tasks_app import cleaning
from tasks_app.engine import archive, limits, registry
from tasks_app.engine.claim import claim_rows
from tasks_app.engine.complete import Ended, complete_rows
from tasks_app.engine.events import Change, record
from tasks_app.engine.fail import AttemptReport, cancelled_by, settle_failure
from tasks_app.engine.room import Room
from tasks_app.errors import LostClaim, TaskNotFound
from tasks_app.models import Attempt, Task, TaskStatus, Worker
from tasks_app.models.task import FailureClass
from tasks_app.postgresql import clock, outages

__all__ = ["AttemptReport", "Claim", "Completion", "Renewal", "claim", "complete", "complete_many", "fail", "renew"]

logger = logging.getLogger(__name__)

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
    idle_timeout_sec: int | None = None
    disk_gb: float = 0.0

    @property
    def actor(self) -> str:
        """How events name the worker."""
        return f"worker:{self.worker_label}"


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """The answer to one renewal: claims still held, those lost, and those an operator wants stopped."""

    held: frozenset[UUID] = field(default_factory=frozenset)
    lost: frozenset[UUID] = field(default_factory=frozenset)
    cancel_requested: frozenset[UUID] = field(default_factory=frozenset)


def claim(
    worker: Worker,
    *,
    limit: int,
    queues: Sequence[str] | None = None,
    memory_classes: Sequence[int] = MEMORY_CLASSES,
    room: Room = Room(),  # noqa: B008 - it is immutable
    only: UUID | None = None,
) -> list[Claim]:
    """Claim up to `limit` tasks that find room, from the worker's queues or some of them, most urgent first.

    Only task names that are registered in this process are claimed.
    """
    claims: list[Claim] = []
    while limit > len(claims):
        found = claim_rows(
            worker_pk=worker.pk,
            label=worker.label,
            host_id=worker.host_id,
            task_names=registry.names(),
            queues=worker.queues if queues is None else queues,
            memory_classes=memory_classes,
            room=room,
            limit=limit - len(claims),
            narrow=room.cores < registry.most_cores() or room.disk_gb < registry.most_disk_gb(),
            only=only,
        )
        fresh = _claims_of(found.rows, worker.label)
        claims += fresh
        room = left_of(room, fresh)
        # Of what a full limit turned away another may have a free slot of the other limit that it stands under.
        if not found.parked or not (limits.admit() or fresh):
            break
    return claims


def left_of(room: Room, claims: Iterable[Claim]) -> Room:
    """Return what the claimed tasks leave of a room."""
    for each in claims:
        room = room.without(memory_gb=each.memory_gb, cores=each.cores, disk_gb=each.disk_gb)
    return room


def _claims_of(rows: Sequence[tuple[Any, ...]], label: str) -> list[Claim]:
    bindings = {row[0]: cleaning.loads(row[6]) for row in rows if row[6] != "{}"}
    results = _results_of(bindings)
    return [
        Claim(
            task_id=row[0],
            claim_token=row[1],
            attempt=row[2],
            task_name=row[3],
            queue_name=row[4],
            params=bind(cleaning.loads(row[5]), bindings.get(row[0], {}), results),
            timeout_sec=max(1, row[7]),
            lease_sec=row[8],
            memory_gb=row[9],
            cores=row[10],
            idle_timeout_sec=row[11],
            disk_gb=row[12],
            worker_label=label,
        )
        for row in rows
    ]


def _parents_in(binding: Mapping[str, Any]) -> list[str]:
    return list(binding["task_ids"]) if "task_ids" in binding else [binding["task_id"]]


def _results_of(bindings: Mapping[UUID, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the results of all completed tasks that the bindings name, by task id."""
    wanted = {
        parent for of_task in bindings.values() for binding in of_task.values() for parent in _parents_in(binding)
    }
    if not wanted:
        return {}
    done = Task.objects.filter(task_id__in=wanted, status=TaskStatus.COMPLETED).only("task_id", "result")
    return archive.results_of(wanted) | {str(task.task_id): task.result for task in done}


def bind(
    params: Mapping[str, Any], bindings: Mapping[str, Mapping[str, Any]], results: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the params with what parents' results fill in; a missing field stays out, for the params check to find.

    A list of parents gives the list of what the completed ones among them have, in their order.
    """
    bound = dict(params)
    for name, binding in bindings.items():
        found = [results.get(parent) for parent in _parents_in(binding)]
        values = [each[binding["field"]] for each in found if isinstance(each, dict) and binding["field"] in each]
        if "task_ids" in binding:
            bound[name] = values
        elif values:
            bound[name] = values[0]
    return bound


def with_bindings(task: Task) -> dict[str, Any]:
    """Return the params that an attempt of the task would get now."""
    return bind(task.params, task.bindings, _results_of({task.task_id: task.bindings}))


_RENEW = """
WITH held AS (
    SELECT id FROM tasks_app_task
    WHERE claim_token = ANY(%s::uuid[]) AND status = 'claimed' ORDER BY id FOR UPDATE
)
UPDATE tasks_app_task SET lease_until = absurd_now() + lease_sec * interval '1 second'
WHERE id = ANY(ARRAY(SELECT id FROM held))
RETURNING task_id, cancel_requested_at IS NOT NULL
"""


def renew(claims: Sequence[Claim], *, is_held: Callable[[Claim], bool] = lambda _: True) -> Renewal:
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
            _refuse(gone, "renewal")
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
    told: dict[str, Any] = {
        "progress": None if fraction is None else min(1.0, max(0.0, fraction)),
        "progress_message": cleaning.text(message, 300),
    }
    numbers = dict(metrics or {})
    with _fenced(claim, "progress") as task:
        Task.objects.filter(pk=task.pk).update(**told, progress_metrics=numbers)
        if numbers:
            told["progress_metrics"] = numbers
        record(task, Change(event_type="progress", actor=claim.actor), to_status=TaskStatus.CLAIMED, update=told)


def note_stop(claim: Claim, *, failure_class: str, reason: str, asked_ago_sec: float, takes_sec: float) -> None:
    """Store why an attempt is being stopped, since when, and by when its slot is free. Raises LostClaim."""
    with _fenced(claim, "stop") as task:
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
    with _fenced(claim, "stop"):
        attempt = Attempt.objects.select_for_update().get(claim_token=claim.claim_token)
        held = (
            f"since {clock.stamp(clock.now())} the kernel holds what was killed (pid, state, where, name): "
            f"{cleaning.text(processes)}"
        )
        attempt.stop_reason = f"{attempt.stop_reason[:250]}; {held}"[:500]
        attempt.stop_due_at = None
        attempt.save(update_fields=["stop_reason", "stop_due_at"])


def start_attempt(claim: Claim, *, directory: str, log_path: str) -> None:
    """Note where the attempt works and writes its log. Raises LostClaim."""
    with _fenced(claim, "start"):
        Attempt.objects.filter(claim_token=claim.claim_token).update(directory=directory, log_path=log_path)


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A claim that came to its end, with what its handler returned."""

    claim: Claim
    result: Any
    report: AttemptReport = field(default_factory=AttemptReport)

    @property
    def ended(self) -> Ended:
        """What the state machine needs of it."""
        report = self.report
        return Ended(
            task_id=self.claim.task_id,
            claim_token=self.claim.claim_token,
            result=self.result,
            exit_code=report.exit_code,
            log_tail=report.log_tail,
            peak_rss_bytes=report.peak_rss_bytes,
            cpu_sec=report.cpu_sec,
            read_bytes=report.read_bytes,
            write_bytes=report.write_bytes,
        )


def complete_many(completions: Sequence[Completion]) -> set[UUID]:
    """Complete the tasks of one worker in one transaction; return the ids of those whose claim was lost.

    Only for task names without `on_complete`, whose rows belong into a transaction with one task's completion.
    """
    if not completions:
        return set()
    actor = completions[0].claim.actor
    with transaction.atomic():
        held = complete_rows([each.ended for each in completions], actor=actor)
    lost = [each.claim for each in completions if each.claim.claim_token not in held]
    for claim in lost:
        _refuse(claim, "completion")
    return {claim.task_id for claim in lost}


def complete(
    claim: Claim, result: dict[str, Any], report: AttemptReport, *, products: Sequence[Mapping[str, Any]] = ()
) -> Task:
    """Complete the task and, in the same transaction, let its spec's `on_complete` record the products.

    Raises LostClaim when another claim holds the task.
    """
    spec = registry.get(claim.task_name)
    completion = Completion(claim=claim, result=result, report=report)
    with transaction.atomic():
        if complete_rows([completion.ended], actor=claim.actor):
            task: Task = Task.objects.select_related("run").get(task_id=claim.task_id)
            if spec.on_complete:
                module, _, function = spec.on_complete.partition(":")
                getattr(import_module(module), function)(task, claim, products)
            return task
        if not Task.objects.filter(task_id=claim.task_id).exists():
            raise TaskNotFound(claim.task_id)
    _refuse(claim, "completion")
    raise LostClaim(claim.task_id, "completion")


def fail(claim: Claim, failure_class: str, message: str, report: AttemptReport, *, final: bool = False) -> Task:
    """End the attempt with a failure class; policy decides whether the task is retried, failed, cancelled or returned.

    A `final` failure is not retried, whatever its class.
    Raises LostClaim when another claim holds the task.
    """
    with _fenced(claim, failure_class) as task:
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
            message = "the connection broke when it was claimed, and its worker gave it back unstarted"
            actor = f"worker:{worker.label}"
            settle_failure(task, FailureClass.DRAINED, message, actor=actor, report=AttemptReport())
    return len(tasks)


@contextmanager
def _fenced(claim: Claim, action: str) -> Iterator[Task]:
    """Lock the task for a worker's write, or record the refusal and raise LostClaim."""
    with transaction.atomic():
        task = Task.objects.select_for_update(of=("self",)).select_related("run").filter(task_id=claim.task_id).first()
        if task is None:
            raise TaskNotFound(claim.task_id)
        if task.status == TaskStatus.CLAIMED and task.claim_token == claim.claim_token:
            yield task
            return
    _refuse(claim, action)
    raise LostClaim(claim.task_id, action)


def _refuse(claim: Claim, action: str) -> None:
    with transaction.atomic():
        task = Task.objects.select_related("run").filter(task_id=claim.task_id).first()
        if task is None:
            return
        holder = f"claim {task.claim_epoch} holds it" if task.status == TaskStatus.CLAIMED else f"it is {task.status}"
        reason = f"late {action} of claim {claim.attempt} refused: {holder}"
        record(task, Change(event_type="refused", actor=claim.actor, reason=reason))
