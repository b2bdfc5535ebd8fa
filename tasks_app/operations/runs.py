"""Runs as a whole: start, cancel. Each in one transaction, with one event about the run itself."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from pydantic import Field

from tasks_app.engine.events import Change, announce
from tasks_app.engine.spawn import spawn_many
from tasks_app.errors import RunNotFound
from tasks_app.models import Run, Task, TaskStatus
from tasks_app.models.task import FINISHED
from tasks_app.operations.operation import Counts, Pace, Params, PreviewedOperation, row_of
from tasks_app.operations.tasks import cancel_locked
from tasks_app.postgresql import clock
from tasks_app.workflows.plan import RunPlan
from tasks_app.workflows.state import SUPERSEDED


def start(plan: RunPlan, actor: str) -> Run:
    """Create a run with all tasks of its plan, or nothing.

    Raises ParamsInvalid with the path of everything that is wrong with the plan, and Disabled.
    """
    wanted = plan.tasks()
    with transaction.atomic():
        run = Run.objects.create(
            workflow=plan.workflow,
            label=plan.label,
            params=dict(plan.params),
            created_by=actor,
            created_at=clock.DatabaseNow(),
        )
        run.refresh_from_db(fields=["created_at"])
        tasks = spawn_many([replace(new, run=run) for new in wanted], actor=actor)
        act = Change(event_type="run_started", actor=actor, detail={"workflow": run.workflow, "tasks": len(tasks)})
        announce(act, run_id=run.run_id)
    return run


class CancelCounts(Counts):
    """What cancelling a run did, or would do now."""

    cancelled: int = Field(default=0, title="cancelled", description="Pending tasks, cancelled at once.")
    stopping: int = Field(
        default=0, title="asked to stop", description="Claimed tasks, which their workers have been asked to stop."
    )
    finished: int = Field(default=0, title="finished before", description="Tasks that had finished already.")


def found_run(run_id: UUID, *, lock: bool = False) -> Run:
    """Return the run, on request locked against other operations on runs but not against spawns. Raises RunNotFound."""
    rows = Run.objects.filter(run_id=run_id)
    return row_of(rows.select_for_update(no_key=True) if lock else rows, RunNotFound(run_id))


class CancelRun(PreviewedOperation[Params, CancelCounts]):
    """Where nothing is left to cancel, the counts are zero."""

    target_kind = "run"
    name = "cancel"
    label = "Cancel"
    effect = "Pending tasks are cancelled at once. Claimed ones are stopped by their workers, and their work is lost."
    permission = "tasks_app.cancel_run"
    event_types = ("run_cancelled",)
    params_model = Params
    counts_model = CancelCounts
    dangerous = True

    def refusal(self, target: Run) -> str:
        return "" if _unfinished(target).exists() else "no unfinished tasks are left"

    def affected(self, counts: CancelCounts, params: Params) -> int:
        return counts.cancelled + counts.stopping

    def preview(self, key: UUID, params: Params) -> CancelCounts:
        """Count the run's tasks. Raises RunNotFound."""
        run = found_run(key)
        return _cancel_counts(run, list(_unfinished(run).only("id", "status")))

    @transaction.atomic
    def carry_out(self, key: UUID, params: Params, actor: str, pace: Pace) -> CancelCounts:
        """Cancel all unfinished tasks, which are locked in the order of their ids before the first is changed.

        Raises RunNotFound.
        """
        run = found_run(key, lock=True)
        rows = _unfinished(run).defer("params", "bindings", "result").select_related("run")
        tasks = list(rows.select_for_update(of=("self",)))
        counts = _cancel_counts(run, tasks)
        if tasks:
            # Children first, so that none is released by the end of its parents only to be cancelled itself.
            cancel_locked(tasks[::-1], actor=actor, reason=params.reason)
            announce(self.change(params, actor, **counts.model_dump()), run_id=run.run_id)
        return counts


def _unfinished(run: Run) -> QuerySet[Task]:
    return _tasks_of(run).exclude(status__in=FINISHED).order_by("id")


def _tasks_of(run: Run) -> QuerySet[Task]:
    return Task.objects.filter(run=run).exclude(stage__contains=SUPERSEDED)


def _cancel_counts(run: Run, unfinished: list[Task]) -> CancelCounts:
    claimed = sum(task.status == TaskStatus.CLAIMED for task in unfinished)
    finished = _tasks_of(run).count() - len(unfinished)
    return CancelCounts(cancelled=len(unfinished) - claimed, stopping=claimed, finished=finished)


cancel_run = CancelRun()
