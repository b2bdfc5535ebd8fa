"""The emergency stop in one operation, and the way back from it.

Both are made of ordinary operations and leave their events, so that nothing is done here that could not be undone
there. Each may be repeated: what has been done already is not done again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from django.db.models import Count, Q, Value
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from tasks_app.engine.events import announce
from tasks_app.errors import AbsurdError, AlreadyFrozen, NotFrozen, ParamsInvalid
from tasks_app.models import Queue, Task, TaskEvent, TaskStatus, Worker, WorkerOrder
from tasks_app.models.querysets import TaskQuerySet
from tasks_app.monitoring.workers import SHOWN_FOR
from tasks_app.operations.bulk import act_on_many
from tasks_app.operations.operation import C, Counts, P, Pace, Params, PreviewedOperation, ReasonedParams
from tasks_app.operations.queues import resume
from tasks_app.operations.system import SystemNow, current_freeze, freeze, thaw
from tasks_app.operations.tasks import RequeueParams, cancel, requeue, retry
from tasks_app.operations.workers import WorkerOperation, drain_worker, resume_worker
from tasks_app.postgresql.clock import DatabaseNow

MARK = "emergency stop: "
"""What the reason of everything begins with that an emergency stop did."""


class EmergencyOperation(PreviewedOperation[P, C]):
    """One for administrators that touches every task."""

    target_kind = "system"
    permission = "tasks_app.change_freeze"
    scope = "admin"
    dangerous = True
    token_required = True


class StopParams(ReasonedParams):
    """What is stopped beside the freeze of everything, and the reason."""

    stop_running: bool = Field(default=False, description="Cancel claimed tasks: their processes are ended.")
    cancel_pending: bool = Field(default=False, description="Cancel all pending tasks of all queues.")
    drain_workers: bool = Field(default=False, description="Order the workers to exit when their running tasks end.")


class StopCounts(Counts):
    """What there is to stop, or what was stopped."""

    pending: int = Field(title="pending tasks", description="Pending tasks: there are, or were cancelled.")
    running: int = Field(title="running tasks", description="Claimed tasks: there are, or were asked to stop.")
    workers: int = Field(title="workers", description="Workers that are up, or were ordered to drain.")
    refused: int = Field(default=0, title="had already ended", description="Of these, those that ended meanwhile.")
    left: int = Field(
        default=0,
        title="not reached in time",
        description="Of these tasks, those not reached within the time of a request; repeat the operation.",
    )


class EmergencyStop(EmergencyOperation[StopParams, StopCounts]):
    """Freezes everything first, then stops what is asked for."""

    name = "emergency-stop"
    label = "Emergency stop"
    effect = (
        "Every queue is frozen at once: no task is claimed any more. Where asked for, claimed tasks are stopped, "
        "pending ones cancelled and workers drained. Nothing is deleted; the emergency recovery is the way back."
    )
    event_types = ("emergency_stop",)
    params_model = StopParams
    counts_model = StopCounts

    def affected(self, counts: StopCounts, params: StopParams) -> int:
        return params.cancel_pending * counts.pending + params.stop_running * counts.running

    def preview(self, key: None, params: StopParams) -> StopCounts:
        """Count what there is to stop."""
        unfinished = Task.objects.filter(status__in=("pending", "claimed")).order_by()
        counts = dict(unfinished.values_list("status").annotate(tasks=Count("pk")))
        return StopCounts(
            pending=counts.get("pending", 0),
            running=counts.get("claimed", 0),
            workers=Worker.objects.not_gone().count(),
        )

    def carry_out(self, key: None, params: StopParams, actor: str, pace: Pace) -> StopCounts:
        """Freeze, then stop; what refuses because it ended in that moment is counted."""
        began = time.monotonic()
        marked = ReasonedParams.model_construct(reason=f"{MARK}{params.reason}")
        with contextlib.suppress(AlreadyFrozen):
            freeze(actor=actor, reason=params.reason)
        workers = _up() if params.drain_workers else []
        refused, left = _refused_by(drain_worker, workers, marked, actor), 0
        running = _ids("claimed") if params.stop_running else []
        # Children first, so that none is released by the end of its parents only to be cancelled itself.
        pending = _ids("pending")[::-1] if params.cancel_pending else []
        for tasks in (running, pending):
            result = act_on_many(cancel, tasks, marked, actor, pace=pace.after(time.monotonic() - began))
            refused, left = refused + result.refused.total(), left + result.left
        counts = StopCounts(
            pending=len(pending), running=len(running), workers=len(workers), refused=refused, left=left
        )
        announce(self.change(params, actor, **counts.model_dump()))
        return counts

    def outcome(self, result: StopCounts) -> str:
        return "; ".join(["everything is frozen", *result.lines()])


def _moment(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        read = datetime.fromisoformat(given)
    except ValueError:
        raise PydanticCustomError("moment", "must be a time such as 2025-11-18T10:30:00Z") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


class RecoverParams(Params):
    """What is retried, requeued and resumed before everything is thawed, and what has been repaired."""

    retry_failed: bool = Field(default=False, description="Retry failed tasks: all, or those that match the filter.")
    filter: dict[str, Any] = Field(
        default_factory=dict, description="With retry_failed: names and values as in the query of the list of tasks."
    )
    retry_cancelled: bool = Field(default=False, description="Retry what emergency stops have cancelled.")
    since: Annotated[datetime | None, BeforeValidator(_moment)] = Field(
        default=None, description="With retry_cancelled: by stops since this time; default: since the freeze."
    )
    requeue_stalled: bool = Field(
        default=False, description="Requeue claims whose lease has run out, or whose worker is gone."
    )
    resume_queues: bool = Field(default=False, description="Resume the paused queues.")

    @field_validator("filter")
    @classmethod
    def _filter_of_failed_tasks(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if value and not info.data.get("retry_failed"):
            raise PydanticCustomError("filter", "needs retry_failed, because it selects failed tasks")
        if "status" in value:
            raise PydanticCustomError("filter", "must not contain status: it selects failed tasks")
        return value


class RecoverCounts(Counts):
    """What a recovery did, or would do."""

    failed: int = Field(title="failed tasks retried", description="Failed tasks that are retried.")
    cancelled: int = Field(title="cancelled tasks retried", description="Tasks retried that a stop had cancelled.")
    stalled: int = Field(
        title="stalled claims requeued", description="Claims without a worker that holds them, given back."
    )
    queues: int = Field(title="queues resumed", description="Paused queues that resume.")
    workers: int = Field(title="workers resumed", description="Paused ones that resume; start drained ones again.")
    drained: int = Field(
        default=0,
        title="drained workers to start again",
        description="Workers that a stop has drained and that no other one of that name has replaced.",
    )
    thawed: bool = Field(description="Whether a freeze ends.")
    refused: int = Field(default=0, title="refused", description="Of these, those that refused.")
    left: int = Field(
        default=0,
        title="not reached in time",
        description="Of these tasks, those not reached within the time of a request: nothing resumes until the "
        "operation is repeated.",
    )


class EmergencyRecover(EmergencyOperation[RecoverParams, RecoverCounts]):
    """Retries, requeues, lets paused workers and queues resume, and thaws last.

    One that breaks off leaves everything frozen.
    """

    name = "emergency-recover"
    label = "Emergency recovery"
    effect = (
        "Paused workers resume and everything is thawed. Where asked for, failed tasks and those that the stop "
        "cancelled are retried first, stalled claims requeued and paused queues resumed. Repair the cause before."
    )
    event_types = ("emergency_recovery",)
    params_model = RecoverParams
    counts_model = RecoverCounts

    def affected(self, counts: RecoverCounts, params: RecoverParams) -> int:
        return counts.failed + counts.cancelled + counts.stalled

    def preview(self, key: SystemNow | None, params: RecoverParams) -> RecoverCounts:
        """Count what would be done, with what is known already of the system. Raises ParamsInvalid as `carry_out`."""
        return RecoverCounts(
            failed=_failed(params).values("pk").count(),
            cancelled=len(_cancelled(params)),
            stalled=len(_stalled(params)),
            queues=len(_paused_queues(params)),
            workers=len(_paused()),
            drained=len(_drained()),
            thawed=(key.frozen if key else current_freeze()) is not None,
        )

    def carry_out(self, key: None, params: RecoverParams, actor: str, pace: Pace) -> RecoverCounts:
        """Recover. Raises ParamsInvalid for a bad filter or a missing moment."""
        began = time.monotonic()
        failed = list(_failed(params).order_by("id").values_list("task_id", flat=True))
        cancelled, stalled, plain = _cancelled(params), _stalled(params), Params(reason=params.reason)
        retried = act_on_many(retry, [*failed, *cancelled], plain, actor, pace=pace)
        lost = RequeueParams(reason=params.reason)
        given_back = act_on_many(requeue, stalled, lost, actor, pace=pace.after(time.monotonic() - began))
        left = retried.left + given_back.left
        queues = [] if left else _paused_queues(params)
        for name in queues:
            resume.act(name, plain, actor)
        workers = [] if left else _paused()
        refused = (
            retried.refused.total() + given_back.refused.total() + _refused_by(resume_worker, workers, plain, actor)
        )
        counts = RecoverCounts(
            failed=len(failed),
            cancelled=len(cancelled),
            stalled=len(stalled),
            queues=len(queues),
            workers=len(workers),
            drained=len(_drained()),
            thawed=not left and _thawed(actor, params.reason),
            refused=refused,
            left=left,
        )
        announce(self.change(params, actor, **counts.model_dump()))
        return counts

    def outcome(self, result: RecoverCounts) -> str:
        return "; ".join([*result.lines(), "tasks are claimed again" if result.thawed else "nothing was frozen"])


def _failed(params: RecoverParams) -> TaskQuerySet:
    from tasks_app.operations.selection import tasks_matching  # here, because it loads the library of filters

    return tasks_matching({**params.filter, "status": "failed"}) if params.retry_failed else Task.objects.none()


def _cancelled(params: RecoverParams) -> list[UUID]:
    """Return the tasks that emergency stops have cancelled since a moment, parents first."""
    if not params.retry_cancelled:
        return []
    frozen = current_freeze()
    since = params.since or (frozen.frozen_at if frozen else None)
    if since is None:
        raise ParamsInvalid([{"path": "since", "message": "nothing is frozen: give the time of the emergency stop"}])
    ended = Task.objects.filter(status=TaskStatus.CANCELLED, completed_at__gte=since)
    ids = list(ended.order_by("id").values_list("task_id", flat=True))
    events = TaskEvent.objects.filter(event_type__in=cancel.event_types, reason__startswith=MARK, created_at__gte=since)
    marked = set(events.filter(task_id__in=ids).values_list("task_id", flat=True))
    return [task_id for task_id in ids if task_id in marked]


def _stalled(params: RecoverParams) -> list[UUID]:
    """Return the claimed tasks that no worker holds any more."""
    if not params.requeue_stalled:
        return []
    held = Q(lease_until__gt=DatabaseNow(), worker__in=Worker.objects.not_gone())
    return list(Task.objects.filter(~held, status=TaskStatus.CLAIMED).order_by("id").values_list("task_id", flat=True))


def _paused_queues(params: RecoverParams) -> list[str]:
    paused = (
        Queue.objects.filter(paused_at__isnull=False).order_by("name") if params.resume_queues else Queue.objects.none()
    )
    return list(paused.values_list("name", flat=True))


def _ids(status: str) -> list[UUID]:
    return list(Task.objects.filter(status=status).order_by("id").values_list("task_id", flat=True))


def _up() -> list[Worker]:
    return list(Worker.objects.not_gone().order_by("label"))


def _paused() -> list[Worker]:
    return list(Worker.objects.not_gone().filter(ordered=WorkerOrder.PAUSE, draining=False).order_by("label"))


def _drained() -> set[str]:
    """Return the labels of the workers that a stop has drained and that nothing has replaced."""
    recent = Worker.objects.filter(heartbeat_at__gte=DatabaseNow() - Value(SHOWN_FOR))
    by_stops = recent.filter(ordered=WorkerOrder.DRAIN, order_reason__startswith=MARK)
    replaced = Worker.objects.not_gone().exclude(ordered=WorkerOrder.DRAIN).values("label")
    return set(by_stops.exclude(label__in=replaced).values_list("label", flat=True))


def _refused_by(operation: WorkerOperation, workers: Sequence[Worker], params: Params, actor: str) -> int:
    """Give an order to each worker; return how many refused."""
    refused = 0
    for worker in workers:
        try:
            operation.act(worker.pk, params, actor)
        except AbsurdError:
            refused += 1
    return refused


def _thawed(actor: str, reason: str) -> bool:
    try:
        thaw(actor=actor, reason=reason)
    except NotFrozen:
        return False
    return True


emergency_stop, emergency_recover = EmergencyStop(), EmergencyRecover()
