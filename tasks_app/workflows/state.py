"""How runs stand, worked out from their tasks each time and stored nowhere.

Everything a page of runs needs is one statement over the tasks of those runs, be they in the queue or in the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.db import connection

from tasks_app.models import Run

Word = Literal["running", "waiting", "stalled", "completed", "failed", "cancelled"]
WORDS: tuple[Word, ...] = ("running", "waiting", "stalled", "completed", "failed", "cancelled")
ERROR_CHARS = 300
SUPERSEDED = "~"
"""Stands in the stage of a task that a fresh copy has replaced, before a number; no stage's own name has it."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """The task that failed first, or that blocks the waiting tasks of a stalled run."""

    task_id: UUID
    stage: str
    status: str
    failure_class: str
    error: str
    run_id: UUID | None
    """Its own run, which may be another one."""

    def described(self, run_id: UUID) -> str:
        """Return what happened to it, in a few words."""
        where = "" if self.run_id == run_id else f" of run {self.run_id}" if self.run_id else " outside the run"
        if self.status == "cancelled":
            return f"{self.stage}{where} was cancelled"
        why = f" ({self.failure_class}): {self.error}" if self.error else ""
        return f"{self.stage}{where} failed{why}"


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run at this moment. Tasks that fresh copies have replaced are not counted."""

    run_id: UUID
    total: int = 0
    pending: int = 0
    claimed: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    waiting: int = 0
    """Pending ones that wait for other tasks."""
    scheduled: int = 0
    """Other pending ones that wait for their time."""
    limited: int = 0
    """Other pending ones that wait for a free slot of a limit."""
    cancelling: int = 0
    """Claimed ones that are asked to stop."""
    done_without: int = 0
    """Failed or cancelled ones without which every task behind them went on."""
    failed_in_earnest: int = 0
    cancelled_in_earnest: int = 0
    waits_outside: bool = False
    """Whether a task waits for an unfinished one of another run."""
    superseded: int = 0
    started_at: datetime | None = None
    last_end_at: datetime | None = None
    trouble: Trouble | None = None

    @property
    def queued(self) -> int:
        """Pending tasks that nothing but the queue holds back."""
        return self.pending - self.waiting - self.scheduled - self.limited

    @property
    def is_finished(self) -> bool:
        """Whether no task is pending or claimed."""
        return self.total > 0 and self.pending == 0 and self.claimed == 0

    @property
    def finished_at(self) -> datetime | None:
        """When the last task ended, once all have."""
        return self.last_end_at if self.is_finished else None

    @property
    def word(self) -> Word:
        """The state in a word.

        Running: a task is claimed. Waiting: none is, and some will go on by themselves. Stalled: pending tasks wait for
        others that failed or were cancelled, and only an operator can help. Completed: nothing is left to do, also when
        some tasks failed without which all behind them went on.
        """
        if self.claimed:
            return "running"
        if self.pending > self.waiting or self.waits_outside or self.total == 0:
            return "waiting"
        if self.pending:
            return "stalled"
        if self.failed_in_earnest:
            return "failed"
        return "cancelled" if self.cancelled_in_earnest else "completed"

    @property
    def reason(self) -> str:
        """Why it stands so; empty when the word says all."""
        parts = [_REASONS[self.word](self)]
        if self.trouble is not None and self.word in ("running", "waiting"):
            parts.append(self.trouble.described(self.run_id))
        return "; ".join(part for part in parts if part)

    @property
    def progress(self) -> float:
        """The fraction of its tasks that have completed."""
        return self.completed / self.total if self.total else 0.0


def _why_waiting(state: RunState) -> str:
    if state.total == 0:
        return "it has no tasks"
    parts = [
        (state.queued, "in the queue"),
        (state.scheduled, "until their time"),
        (state.limited, "for a free slot of a limit"),
        (state.waiting, "for other tasks"),
    ]
    return ", ".join(f"{count} {what}" for count, what in parts if count)


def _why_stalled(state: RunState) -> str:
    behind = f"{_tasks(state.waiting)} {'waits' if state.waiting == 1 else 'wait'}"
    trouble = state.trouble.described(state.run_id) if state.trouble else "their dependencies do not exist any more"
    return f"{trouble}; {behind} until it is retried"


def _why_failed(state: RunState) -> str:
    more = state.failed_in_earnest - 1
    trouble = state.trouble.described(state.run_id) if state.trouble else ""
    return f"{trouble}; {more} more failed" if more else trouble


def _tasks(count: int) -> str:
    return f"{count} task{'' if count == 1 else 's'}"


_REASONS: dict[Word, Callable[[RunState], str]] = {
    "running": lambda state: f"{_tasks(state.cancelling)} asked to stop" if state.cancelling else "",
    "waiting": _why_waiting,
    "stalled": _why_stalled,
    "failed": _why_failed,
    "cancelled": lambda state: f"{_tasks(state.cancelled_in_earnest)} cancelled",
    "completed": lambda state: f"{_tasks(state.done_without)} not needed" if state.done_without else "",
}

_WENT_ON = """
    CASE WHEN task.status = 'pending' THEN task.hold & 2 = 0 ELSE task.joined_at IS NOT NULL OR task.claim_epoch > 0 END
"""
"""Whether a task has stopped waiting for others: one that was cancelled or condemned while it waited has not."""
_OLD_WENT_ON = "archived.task->>'joined_at' IS NOT NULL OR (archived.task->>'claim_epoch')::integer > 0"

_STATES = f"""
WITH wanted AS (
    SELECT id AS run, run_id FROM tasks_app_run WHERE id = ANY(%(runs)s)
), every AS (
    SELECT run, wanted.run_id, task_id, status, hold, stage, task_name, claimed_at, completed_at, failure_class,
        cancel_requested_at IS NOT NULL AS cancelling, unrunnable_because,
        CASE WHEN status = 'failed' THEN error END AS error
    FROM wanted JOIN tasks_app_task AS task ON task.run_id = wanted.run
    UNION ALL
    SELECT run, wanted.run_id, task_id, status, 0, task->>'stage', task_name, (task->>'claimed_at')::timestamptz,
        completed_at, coalesce(task->>'failure_class', ''), false, (task->>'unrunnable_because')::uuid,
        CASE WHEN status = 'failed' THEN task->>'error' END
    FROM wanted JOIN tasks_app_archivedtask AS archived ON archived.run_id = wanted.run_id
), member AS MATERIALIZED (
    SELECT * FROM every WHERE position('{SUPERSEDED}' IN stage) = 0
), gone AS (
    SELECT parent.task_id
    FROM member AS parent
    JOIN tasks_app_taskdependency AS edge ON edge.parent_task_id = parent.task_id
    LEFT JOIN tasks_app_task AS task ON task.task_id = edge.child_task_id AND task.run_id = parent.run
        AND position('{SUPERSEDED}' IN task.stage) = 0
    LEFT JOIN tasks_app_archivedtask AS archived ON archived.task_id = edge.child_task_id
        AND archived.run_id = parent.run_id
    WHERE parent.status IN ('failed', 'cancelled') AND (task.id IS NOT NULL OR archived.id IS NOT NULL)
    GROUP BY parent.task_id HAVING bool_and(CASE WHEN task.id IS NULL THEN {_OLD_WENT_ON} ELSE {_WENT_ON} END)
), judged AS MATERIALIZED (
    -- A subquery in this place is hashed; joined, it would be compared row by row.
    SELECT member.*, task_id IN (SELECT task_id FROM gone) AS excused FROM member
), counted AS (
    SELECT run, count(*) AS total,
        count(*) FILTER (WHERE status = 'pending') AS pending,
        count(*) FILTER (WHERE status = 'claimed') AS claimed,
        count(*) FILTER (WHERE status = 'completed') AS completed,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
        count(*) FILTER (WHERE status = 'pending' AND hold & 2 > 0) AS waiting,
        count(*) FILTER (WHERE status = 'pending' AND hold & 3 = 1) AS scheduled,
        count(*) FILTER (WHERE status = 'pending' AND hold = 4) AS limited,
        count(*) FILTER (WHERE status = 'claimed' AND cancelling) AS cancelling,
        count(*) FILTER (WHERE excused) AS done_without,
        count(*) FILTER (WHERE status = 'failed' AND NOT excused) AS failed_in_earnest,
        count(*) FILTER (WHERE status = 'cancelled' AND NOT excused) AS cancelled_in_earnest,
        min(claimed_at) AS started_at, max(completed_at) AS last_end_at
    FROM judged GROUP BY run
), edge AS MATERIALIZED (
    SELECT judged.run, parent.run_id, parent.id, parent.task_id, parent.stage, parent.task_name, parent.status,
        parent.failure_class, parent.completed_at, other.run_id AS other_run_id,
        CASE WHEN parent.status = 'failed' THEN parent.error END AS error
    FROM judged
    JOIN tasks_app_taskdependency AS edge ON edge.child_task_id = judged.task_id
    JOIN tasks_app_task AS parent ON parent.task_id = edge.parent_task_id AND parent.status <> 'completed'
    LEFT JOIN tasks_app_run AS other ON other.id = parent.run_id
    WHERE judged.status = 'pending' AND judged.hold & 2 > 0
), outside AS (
    SELECT DISTINCT run FROM edge WHERE run_id IS DISTINCT FROM run AND status IN ('pending', 'claimed')
), obstacle AS (
    SELECT DISTINCT ON (run) run, task_id, coalesce(nullif(stage, ''), task_name) AS stage, status, failure_class,
        error, other_run_id
    FROM edge WHERE status IN ('failed', 'cancelled') ORDER BY run, completed_at, id
), failure AS (
    SELECT DISTINCT ON (run) run, task_id, coalesce(nullif(stage, ''), task_name) AS stage, status, failure_class,
        error, run_id AS other_run_id
    FROM judged WHERE status = 'failed' AND NOT excused
    ORDER BY run, unrunnable_because IS NOT NULL, completed_at, task_id
), trouble AS (
    SELECT * FROM obstacle
    UNION ALL
    SELECT * FROM failure WHERE NOT EXISTS (SELECT FROM obstacle WHERE obstacle.run = failure.run)
)
SELECT wanted.run, counted.total, counted.pending, counted.claimed, counted.completed, counted.failed,
    counted.cancelled, counted.waiting, counted.scheduled, counted.limited, counted.cancelling, counted.done_without,
    counted.failed_in_earnest, counted.cancelled_in_earnest, counted.started_at, counted.last_end_at,
    outside.run IS NOT NULL AS waits_outside,
    (SELECT count(*) FROM every WHERE every.run = wanted.run) - coalesce(counted.total, 0) AS superseded,
    trouble.task_id, trouble.stage, trouble.status, trouble.failure_class, left(trouble.error, 2000),
    trouble.other_run_id
FROM wanted LEFT JOIN counted USING (run) LEFT JOIN outside USING (run) LEFT JOIN trouble USING (run)
"""  # noqa: S608 - a constant

_COUNTS = (
    "total", "pending", "claimed", "completed", "failed", "cancelled", "waiting", "scheduled", "limited", "cancelling",
    "done_without", "failed_in_earnest", "cancelled_in_earnest",
)  # fmt: skip


def states_of(runs: Sequence[Run]) -> dict[UUID, RunState]:
    """Return the state of each run by its run id, in one statement."""
    by_pk = {run.pk: run.run_id for run in runs}
    if not by_pk:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_STATES, {"runs": list(by_pk)})
        return {by_pk[row[0]]: _state(by_pk[row[0]], row[1:]) for row in cursor.fetchall()}


def _state(run_id: UUID, row: tuple[Any, ...]) -> RunState:
    counts = {name: count or 0 for name, count in zip(_COUNTS, row, strict=False)}
    started_at, last_end_at, waits_outside, superseded, *trouble = row[len(_COUNTS) :]
    return RunState(
        run_id=run_id,
        **counts,
        started_at=started_at,
        last_end_at=last_end_at,
        waits_outside=waits_outside,
        superseded=superseded,
        trouble=_trouble(trouble) if trouble[0] is not None else None,
    )


def _trouble(columns: Sequence[Any]) -> Trouble:
    task_id, stage, status, failure_class, error, run_id = columns
    line = (error or "").strip().split("\n", 1)[0][:ERROR_CHARS]
    return Trouble(task_id=task_id, stage=stage, status=status, failure_class=failure_class, error=line, run_id=run_id)


def state_of(run: Run) -> RunState:
    """Return the state of one run."""
    return states_of([run])[run.run_id]
