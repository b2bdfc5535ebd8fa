"""Runs as a whole: start, cancel, retry. Each in one transaction, with one event about the run itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from pydantic import Field

from tasks_app.engine.bindings import Binding, Gather
from tasks_app.engine.events import Change, Record, announce, record_many
from tasks_app.engine.options import Join
from tasks_app.engine.spawn import NewTask, options_of, spawn_many
from tasks_app.errors import OperationRefused, ParamsInvalid, RunNotFound
from tasks_app.models import Hold, Run, Task, TaskDependency, TaskStatus
from tasks_app.models.task import FINISHED, new_task_id
from tasks_app.operations.operation import Counts, Pace, Params, PreviewedOperation, row_of
from tasks_app.operations.tasks import RETRIED, cancel_locked, retry_locked
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


# Retry: failed and cancelled tasks go back to the queue as they are. A completed task cannot: its result is published
# and others may have used it. So `from_stage` spawns copies of what has completed and of everything that waits for a
# copy, into the same run and with the same edges, and marks the old ones as superseded: they keep their history,
# products and place in the run, under the stage `imaging~1`, and are not counted any more.


class RetryCounts(Counts):
    """What retrying a run did, or would do now."""

    retried: int = Field(
        default=0, title="returned to the queue", description="Failed and cancelled tasks, returned to the queue."
    )
    revived: int = Field(
        default=0,
        title="waiting again with them",
        description="Tasks that had failed only because one of those did; they wait for it again.",
    )
    respawned: int = Field(
        default=0, title="respawned", description="Fresh copies of tasks; what they replace is superseded."
    )
    left: int = Field(
        default=0,
        title="left to another run's retry",
        description="Tasks that had failed because one of another run did, which must be retried there.",
    )


class RunRetryParams(Params):
    """The stage to start from, and the reason."""

    from_stage: str | None = Field(
        default=None, max_length=100, description="Also run this stage and all that depend on it again."
    )


class RetryRun(PreviewedOperation[RunRetryParams, RetryCounts]):
    """Retries what failed or was cancelled; with `from_stage` also runs that stage and all that depend on it again."""

    target_kind = "run"
    name = "retry"
    label = "Retry"
    effect = (
        "Failed and cancelled tasks go back to their queue. From a stage on, completed tasks are replaced by fresh "
        "copies; the old ones keep their history and products."
    )
    permission = "tasks_app.retry_run"
    event_types = ("run_retried",)
    params_model = RunRetryParams
    counts_model = RetryCounts

    def refusal(self, target: Run) -> str:
        # From a stage on there is nearly always something to do; the preview shows when there is not.
        return "" if Task.objects.filter(run=target).exists() else "it has no tasks in the queue"

    def affected(self, counts: RetryCounts, params: RunRetryParams) -> int:
        return counts.retried + counts.revived + counts.respawned

    def preview(self, key: UUID, params: RunRetryParams) -> RetryCounts:
        """Count what would be retried. Raises what `carry_out` raises."""
        run = found_run(key)
        return _decide(run, list(_rows(run)), params).counts

    @transaction.atomic
    def carry_out(self, key: UUID, params: RunRetryParams, actor: str, pace: Pace) -> RetryCounts:
        """Retry, and put copies into the places of what is done again.

        Raises RunNotFound, ParamsInvalid for a stage that the run has not, and OperationRefused when there is nothing
        to retry or something is still being done that would be done twice.
        """
        run = found_run(key, lock=True)
        tasks = list(_rows(run).select_for_update(of=("self",)).select_related("run"))
        decision = _decide(run, tasks, params)
        counts, reason = decision.counts, params.reason
        retry_locked(decision.retried, actor=actor, reason=reason)
        _replace(run, decision.copied, decision.edges, actor=actor, reason=reason)
        stage = {"from_stage": params.from_stage} if params.from_stage else {}
        announce(self.change(params, actor, **counts.model_dump(), **stage), run_id=run.run_id)
        return counts


def stages_of(run: Run) -> list[str]:
    """Return the run's stages in the order of their first tasks."""
    rows = Task.objects.filter(run=run).exclude(stage__contains=SUPERSEDED).order_by("id")
    return list(dict.fromkeys(stage for stage in rows.values_list("stage", flat=True) if stage))


def _rows(run: Run) -> QuerySet[Task]:
    return Task.objects.filter(run=run).exclude(stage__contains=SUPERSEDED).order_by("id").defer("result")


def _decide(run: Run, tasks: Sequence[Task], params: RunRetryParams) -> _Decision:
    decision = _Decision(run, tasks, params.from_stage)
    decision.check()
    return decision


class _Decision:
    """Which tasks of a run are retried as they are, and which are copied."""

    def __init__(self, run: Run, tasks: Sequence[Task], from_stage: str | None) -> None:
        self._run = run
        self._tasks = tasks
        self.edges = _parents_within(tasks)
        self._again = self._behind(from_stage) if from_stage else set()
        self.copied = self._to_copy()
        self._copied_ids = {task.task_id for task in self.copied}
        failed = [task for task in tasks if task.status in RETRIED and task.task_id not in self._copied_ids]
        self.retried = [task for task in failed if task.unrunnable_because is None]
        condemned = [task for task in failed if task.unrunnable_because is not None]
        roots = {task.task_id for task in self.retried}
        self._left = [task for task in condemned if task.unrunnable_because not in roots]
        self.counts = RetryCounts(
            retried=len(self.retried),
            revived=len(condemned) - len(self._left),
            respawned=len(self.copied),
            left=len(self._left),
        )

    def _behind(self, stage: str) -> set[UUID]:
        """Return the tasks of the stage and of everything after it; parents come before their children."""
        found = {task.task_id for task in self._tasks if task.stage == stage}
        if not found:
            known = ", ".join(dict.fromkeys(task.stage for task in self._tasks if task.stage)) or "none"
            message = f"the run has no stage {stage!r}; its stages are {known}"
            raise ParamsInvalid([{"path": "from_stage", "message": message}])
        for task in self._tasks:
            if found & self.edges[task.task_id]:
                found.add(task.task_id)
        return found

    def _to_copy(self) -> list[Task]:
        copied: dict[UUID, Task] = {}
        for task in self._tasks:
            is_done = task.status == TaskStatus.COMPLETED
            if task.task_id in self._again and (is_done or copied.keys() & self.edges[task.task_id]):
                copied[task.task_id] = task
        return list(copied.values())

    def check(self) -> None:
        """Raise OperationRefused when it must not be carried out, or would change nothing."""
        stopping = sum(task.cancel_requested_at is not None for task in self._tasks)
        if stopping:
            raise self._refusal(
                f"{stopping} of its tasks are still being stopped by their workers; wait until they have ended"
            )
        running = [task for task in self._tasks if task.task_id in self._again and task.status == TaskStatus.CLAIMED]
        if running:
            raise self._refusal(f"{running[0].stage} is claimed; wait for its end, or cancel the run first")
        self._check_outside()
        if self.retried or self.copied:
            return
        if not self._tasks:
            raise self._refusal("it has no tasks in the queue")
        if self._left:
            raise self._refusal(f"its tasks failed because task {self._left[0].unrunnable_because} did; retry that one")
        if self._again:
            raise self._refusal("no task of that stage or of those that depend on it has finished yet")
        raise self._refusal("none of its tasks has failed or been cancelled; name a stage to run it again from there")

    def _check_outside(self) -> None:
        """Refuse to replace what tasks of other runs wait for: they would wait for ever."""
        unfinished = [task.task_id for task in self.copied if task.status != TaskStatus.COMPLETED]
        children = TaskDependency.objects.filter(parent_task_id__in=unfinished).values("child_task_id")
        others = Task.objects.filter(task_id__in=children).exclude(task_id__in=self._copied_ids)
        hindered = [
            task
            for task in others.only("task_id", "task_name", "status", "hold", "unrunnable_because").order_by("id")
            if task.unrunnable_because or (task.status == TaskStatus.PENDING and task.hold & Hold.DEPENDENCY)
        ]
        if hindered:
            raise self._refusal(
                f"task {hindered[0].task_id} outside the run depends on a task that would be replaced; "
                "retry the run without a stage"
            )

    def _refusal(self, why: str) -> OperationRefused:
        return OperationRefused("retry", f"run {self._run.run_id}", why)


def _parents_within(tasks: Sequence[Task]) -> dict[UUID, set[UUID]]:
    """Return the parents of each task, those outside the run included."""
    parents: dict[UUID, set[UUID]] = {task.task_id: set() for task in tasks}
    edges = TaskDependency.objects.filter(child_task_id__in=list(parents))
    for child, parent in edges.values_list("child_task_id", "parent_task_id"):
        parents[child].add(parent)
    return parents


def _replace(
    run: Run, tasks: Sequence[Task], parents: Mapping[UUID, Collection[UUID]], *, actor: str, reason: str
) -> None:
    """Put fresh copies into the places of the locked tasks."""
    if not tasks:
        return
    copies = {task.task_id: new_task_id() for task in tasks}
    numbers = _numbers(run)
    # A retried parent may have revived some meanwhile.
    revived = Task.objects.filter(pk__in=[task.pk for task in tasks], status=TaskStatus.PENDING).select_related("run")
    cancel_locked(list(revived.order_by("-id")), actor=actor, reason=reason)
    for stage in {task.stage for task in tasks}:
        mine = [task.pk for task in tasks if task.stage == stage]
        old = f"{stage[:90]}{SUPERSEDED}{numbers.get(stage, 0) + 1}"
        Task.objects.filter(pk__in=mine).update(stage=old)
    acts = {
        task.pk: Change(event_type="superseded", actor=actor, reason=reason, detail={"by": str(copies[task.task_id])})
        for task in tasks
    }
    record_many([Record(task=task, act=acts[task.pk]) for task in reversed(tasks)])
    spawn_many([_copy(task, parents[task.task_id], copies, run) for task in tasks], actor=actor)


def _numbers(run: Run) -> dict[str, int]:
    """Return how often each stage has been superseded."""
    stages = Task.objects.filter(run=run, stage__contains=SUPERSEDED).values_list("stage", flat=True)
    numbers: dict[str, int] = {}
    for stage in set(stages):
        name, _, number = stage.rpartition(SUPERSEDED)
        numbers[name] = max(numbers.get(name, 0), int(number))
    return numbers


def _copy(task: Task, parents: Collection[UUID], copies: Mapping[UUID, UUID], run: Run) -> NewTask:
    """Return a new task like this one, behind the copies of what it was behind."""
    return NewTask(
        options=options_of(
            task,
            queue_timeout_sec=_seconds(task.created_at, task.expires_at),
            total_timeout_sec=_seconds(task.created_at, task.deadline_at),
            join=None
            if task.join_quorum is None
            else Join(quorum=task.join_quorum, deadline_sec=_seconds(task.created_at, task.join_deadline_at)),
        ),
        task_id=copies[task.task_id],
        after=[copies.get(parent, parent) for parent in parents],
        bindings={name: _bound(stored, copies) for name, stored in task.bindings.items()},
        run=run,
        stage=task.stage,
    )


def _seconds(begin: datetime, end: datetime | None) -> float | None:
    return None if end is None else max(1.0, (end - begin).total_seconds())


def _bound(stored: Mapping[str, Any], copies: Mapping[UUID, UUID]) -> Binding | Gather:
    if "task_ids" in stored:
        ids = [UUID(task_id) for task_id in stored["task_ids"]]
        return Gather(task_ids=[copies.get(task_id, task_id) for task_id in ids], field=stored["field"])
    task_id = UUID(stored["task_id"])
    return Binding(task_id=copies.get(task_id, task_id), field=stored["field"])


cancel_run, retry_run = CancelRun(), RetryRun()
