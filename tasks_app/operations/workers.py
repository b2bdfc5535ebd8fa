"""Operations on workers: they set an order, which the worker reads about once a second."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction

from tasks_app.engine.events import announce
from tasks_app.errors import OperationRefused, WorkerNotFound
from tasks_app.models import Worker, WorkerOrder
from tasks_app.monitoring.workers import event_detail, state_of
from tasks_app.operations.operation import Operation, P, Params, ReasonedParams, row_of
from tasks_app.postgresql import clock


class WorkerOperation(Operation[P, Worker]):
    """Repeating the last order changes nothing."""

    target_kind = "worker"
    permission = "tasks_app.order_worker"
    event_types = ("worker_ordered",)
    order: ClassVar[str]
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
    def act(self, key: UUID | str, params: P, actor: str) -> Worker:
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


class PauseWorker(WorkerOperation[ReasonedParams]):
    """Has a worker claim nothing until it is resumed."""

    name = "pause"
    label = "Pause"
    effect = "It finishes what it runs and claims nothing until it is resumed."
    done = "ordered to pause"
    params_model = ReasonedParams
    order = WorkerOrder.PAUSE


class DrainWorker(WorkerOperation[ReasonedParams]):
    """Has a worker end after what it runs."""

    name = "drain"
    label = "Drain"
    effect = "It finishes what it runs, claims nothing, and ends. It has to be started again on its host."
    done = "ordered to drain"
    params_model = ReasonedParams
    dangerous = True
    order = WorkerOrder.DRAIN


class ResumeWorker(WorkerOperation[Params]):
    """Takes the last order back."""

    name = "resume"
    label = "Resume"
    effect = "The last order is taken back: it claims tasks again."
    done = "ordered to resume"
    params_model = Params
    order = ""


class RecycleWorker(WorkerOperation[Params]):
    """Has a worker start again after what it runs."""

    name = "recycle"
    label = "Recycle"
    effect = "It finishes what it runs, claiming nothing meanwhile, and continues as a fresh process."
    done = "ordered to recycle"
    params_model = Params
    order = WorkerOrder.RECYCLE


pause_worker, drain_worker = PauseWorker(), DrainWorker()
resume_worker, recycle_worker = ResumeWorker(), RecycleWorker()
