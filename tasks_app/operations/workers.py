"""Operations on workers: they set an order, which the worker reads about once a second."""

from __future__ import annotations

from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction

from tasks_app.engine.events import announce
from tasks_app.errors import OperationRefused, WorkerNotFound
from tasks_app.models import Worker, WorkerOrder
from tasks_app.monitoring.workers import event_detail, state_of
from tasks_app.operations.operation import Operation, Params, ReasonedParams, row_of
from tasks_app.postgresql import clock


class WorkerOperation(Operation[Params, Worker]):
    """Repeating the last order changes nothing."""

    target_kind = "worker"
    permission = "tasks_app.order_worker"
    event_types = ("worker_ordered",)
    order: str
    """What stands in the worker's row; empty to take back the last order."""

    def refusal(self, target: Worker) -> str:
        if self.order == target.ordered:
            return "it already has this order" if self.order else "nothing was ordered"
        return self._obstacle(target)

    def _obstacle(self, worker: Worker) -> str:
        state = state_of(worker, clock.now(), busy=False)
        if state in ("stopped", "lost"):
            return f"it is {state}; start another with manage.py runworker"
        if worker.draining and self.order in ("", WorkerOrder.PAUSE):
            return "it is draining and will not claim again; start another with manage.py runworker"
        return ""

    @transaction.atomic
    def act(self, key: UUID | str, params: Params, actor: str) -> Worker:
        """Set the order. Raises WorkerNotFound, and OperationRefused for a worker that is stopped, lost or draining."""
        missing = WorkerNotFound(key)
        try:
            worker: Worker = row_of(Worker.objects.select_for_update().filter(pk=key), missing)
        except ValidationError:
            raise missing from None
        if obstacle := self._obstacle(worker):
            raise OperationRefused(self.name, f"worker {worker}", obstacle)
        if worker.ordered == self.order:
            return worker
        worker.ordered, worker.ordered_by, worker.order_reason = self.order, actor, params.reason
        worker.ordered_at = clock.now()
        worker.save(update_fields=["ordered", "ordered_by", "ordered_at", "order_reason"])
        announce(self.change(params, actor, ordered=self.order or "resume", worker=event_detail(worker)))
        return worker


pause_worker = WorkerOperation(
    name="pause",
    label="Pause",
    effect="It finishes what it runs and claims nothing until it is resumed.",
    done="ordered to pause",
    params_model=ReasonedParams,
    order=WorkerOrder.PAUSE,
)
drain_worker = WorkerOperation(
    name="drain",
    label="Drain",
    effect="It finishes what it runs, claims nothing, and ends. It has to be started again on its host.",
    done="ordered to drain",
    params_model=ReasonedParams,
    order=WorkerOrder.DRAIN,
    dangerous=True,
)
resume_worker = WorkerOperation(
    name="resume",
    label="Resume",
    effect="The last order is taken back: it claims tasks again.",
    done="ordered to resume",
    params_model=Params,
    order="",
)
recycle_worker = WorkerOperation(
    name="recycle",
    label="Recycle",
    effect="It finishes what it runs, claiming nothing meanwhile, and continues as a fresh process.",
    done="ordered to recycle",
    params_model=Params,
    order=WorkerOrder.RECYCLE,
)
