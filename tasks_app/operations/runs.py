"""What is done to whole runs: start, cancel. Each in one transaction, with one event about the run itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from uuid import UUID

from django.db import transaction

from tasks_app.engine.events import Change, announce
from tasks_app.engine.spawn import spawn_many
from tasks_app.errors import RunNotFound
from tasks_app.models import Run, Task, TaskStatus
from tasks_app.models.task import FINISHED
from tasks_app.operations.cancel import cancel_locked
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


@dataclass(frozen=True, kw_only=True)
class CancelCounts:
    """What cancelling a run did, or would do now."""

    cancelled: int = 0
    """Pending tasks, cancelled at once."""
    stopping: int = 0
    """Claimed tasks, which their workers have been asked to stop."""
    finished: int = 0
    """Tasks that had finished already."""


def found_run(run_id: UUID) -> Run:
    """Return the run. Raises RunNotFound."""
    run: Run | None = Run.objects.filter(run_id=run_id).first()
    if run is None:
        raise RunNotFound(run_id)
    return run


def locked_run(run_id: UUID) -> Run:
    """Return the run, locked against other verbs of runs but not against spawns. Raises RunNotFound."""
    run: Run | None = Run.objects.select_for_update(no_key=True).filter(run_id=run_id).first()
    if run is None:
        raise RunNotFound(run_id)
    return run


@transaction.atomic
def cancel_run(run_id: UUID, *, actor: str, reason: str = "", dry_run: bool = False) -> CancelCounts:
    """Cancel the run's pending tasks and have its claimed ones stopped; those that have finished stay as they are.

    All unfinished tasks are locked, in the order of their ids, before the first is changed. Nothing to cancel is no
    error: the counts say so. Raises RunNotFound.
    """
    run = locked_run(run_id) if not dry_run else found_run(run_id)
    mine = Task.objects.filter(run=run).exclude(stage__contains=SUPERSEDED)
    unfinished = mine.exclude(status__in=FINISHED).order_by("id")
    if dry_run:
        tasks = list(unfinished.only("id", "status"))
    else:
        rows = unfinished.defer("params", "bindings", "result").select_related("run")
        tasks = list(rows.select_for_update(of=("self",)))
    claimed = sum(task.status == TaskStatus.CLAIMED for task in tasks)
    counts = CancelCounts(cancelled=len(tasks) - claimed, stopping=claimed, finished=mine.count() - len(tasks))
    if tasks and not dry_run:
        # Children first, so that none is released by the end of its parents only to be cancelled itself.
        cancel_locked(tasks[::-1], actor=actor, reason=reason)
        act = Change(event_type="run_cancelled", actor=actor, reason=reason, detail=asdict(counts))
        announce(act, run_id=run.run_id)
    return counts
