"""Tell a worker what to do; it reads its orders about once a second."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from tasks_app.engine.events import Change, announce
from tasks_app.errors import ParamsInvalid, WorkerNotFound, WorkerRefuses
from tasks_app.models import Worker, WorkerOrder
from tasks_app.monitoring.workers import event_detail, state_of
from tasks_app.operations.reasons import check_reason
from tasks_app.postgresql import clock

RESUME = ""
"""The order that takes back the last one."""


def order_worker(worker_id: UUID | str, ordered: str, *, actor: str, reason: str = "") -> Worker:
    """Order a worker to pause, drain or recycle, or with an empty order to resume; return its row.

    Pause: claim nothing until resumed. Drain: claim nothing, finish running tasks, exit. Recycle: the same, and
    start again. Repeating the last order changes nothing. Raises WorkerNotFound, WorkerRefuses when the worker is
    gone, and ParamsInvalid for an unknown order or for a pause or drain without a reason.
    """
    if ordered not in (RESUME, *WorkerOrder.values):
        known = ", ".join(WorkerOrder.values)
        raise ParamsInvalid([{"path": "ordered", "message": f"write one of {known}, or nothing to resume"}])
    if ordered in (WorkerOrder.PAUSE, WorkerOrder.DRAIN):
        check_reason(reason)
    with transaction.atomic():
        worker = _locked(worker_id)
        if why := refusal(worker, ordered):
            raise WorkerRefuses(worker, why)
        if worker.ordered == ordered:
            return worker
        worker.ordered, worker.ordered_by, worker.order_reason = ordered, actor, reason
        worker.ordered_at = clock.now()
        worker.save(update_fields=["ordered", "ordered_by", "ordered_at", "order_reason"])
        act = Change(
            event_type="worker_ordered",
            actor=actor,
            reason=reason,
            detail={"ordered": ordered or "resume", "worker": event_detail(worker)},
        )
        announce(act)
    return worker


def refusal(worker: Worker, ordered: str) -> str:
    """Why the worker cannot follow an order now; empty when it can."""
    state = state_of(worker, clock.now(), busy=False)
    if state in ("stopped", "lost"):
        return f"it is {state}; start another with manage.py runworker"
    if worker.draining and ordered in (RESUME, WorkerOrder.PAUSE):
        return "it is stopping and will not claim again; start another with manage.py runworker"
    return ""


def _locked(worker_id: UUID | str) -> Worker:
    try:
        pk = worker_id if isinstance(worker_id, UUID) else UUID(worker_id)
    except ValueError:
        raise WorkerNotFound(worker_id) from None
    worker: Worker | None = Worker.objects.select_for_update().filter(pk=pk).first()
    if worker is None:
        raise WorkerNotFound(worker_id)
    return worker
