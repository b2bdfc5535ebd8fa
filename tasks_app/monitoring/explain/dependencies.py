"""Which dependencies a task waits for, their states, and what blocks those."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks_app import formats
from tasks_app.engine.dependencies import Join
from tasks_app.models import Hold
from tasks_app.models.querysets import short_id
from tasks_app.monitoring.explain.findings import SHOWN, Case, Code, Finding, blocking, select

ERROR_CHARS = 120

_STATE = """
CASE WHEN {status} IS NULL THEN 'gone'
    WHEN {status} = 'pending' AND task.hold & 2 > 0 THEN 'waiting'
    WHEN {status} = 'pending' AND task.hold & 1 > 0 AND task.retry_count > 0 THEN 'retrying'
    WHEN {status} = 'pending' AND task.hold & 1 > 0 THEN 'scheduled'
    WHEN {status} = 'claimed' AND task.cancel_requested_at IS NOT NULL THEN 'cancelling'
    WHEN {status} = 'failed' AND task.quarantined_at IS NOT NULL THEN 'quarantined'
    ELSE {status} END AS state
"""

# The counts over all dependencies, with the few that are shown: those that need an operator first.
_PARENTS = f"""
SELECT edge.parent_task_id AS task_id, coalesce(task.task_name, archived.task_name) AS task_name,
    {_STATE.format(status="coalesce(task.status, archived.status)")},
    task.failure_class, left(task.error, 500) AS error,
    task.unrunnable_because,
    count(*) OVER () AS parents,
    count(*) FILTER (WHERE coalesce(task.status, archived.status) = 'completed') OVER () AS completed,
    count(*) FILTER (WHERE task.status IN ('pending', 'claimed')) OVER () AS unfinished,
    count(*) FILTER (WHERE coalesce(task.status, archived.status) IN ('failed', 'cancelled')) OVER () AS fallen,
    count(*) FILTER (WHERE task.status IS NULL AND archived.status IS NULL) OVER () AS gone
FROM tasks_app_taskdependency AS edge
LEFT JOIN tasks_app_task AS task ON task.task_id = edge.parent_task_id
LEFT JOIN tasks_app_archivedtask AS archived ON archived.task_id = edge.parent_task_id
WHERE edge.child_task_id = %(task_id)s
ORDER BY array_position(
    ARRAY['failed', 'cancelled', 'claimed', 'pending'], coalesce(task.status, archived.status)::text
) NULLS LAST, task.completed_at, edge.id
LIMIT {SHOWN}
"""  # noqa: S608 - constants

# Upwards through tasks that only wait, or failed only because of another, to the tasks that block them.
_FIRST_CAUSES = f"""
WITH RECURSIVE above AS (
    SELECT parent_task_id AS task_id, 1 AS steps FROM tasks_app_taskdependency WHERE child_task_id = %(task_id)s
    UNION
    SELECT edge.parent_task_id, steps + 1 FROM above
    JOIN tasks_app_task AS task ON task.task_id = above.task_id
        AND (task.status = 'pending' AND task.hold & 2 > 0 OR task.unrunnable_because IS NOT NULL)
    JOIN tasks_app_taskdependency AS edge ON edge.child_task_id = above.task_id
    WHERE steps < 50
), few AS (
    SELECT task_id, min(steps) AS steps FROM (SELECT * FROM above LIMIT 2000) AS first_found GROUP BY task_id
)
SELECT task.task_id, task.task_name, {_STATE.format(status="task.status")}, task.failure_class,
    left(task.error, 500) AS error
FROM few JOIN tasks_app_task AS task USING (task_id)
WHERE steps > 1 AND task.status <> 'completed' AND task.unrunnable_because IS NULL
    AND NOT (task.status = 'pending' AND task.hold & 2 > 0)
ORDER BY task.status NOT IN ('failed', 'cancelled'), steps, task.completed_at, task.id
LIMIT 3
"""  # noqa: S608 - constants


def waiting(case: Case) -> Iterator[Finding]:
    """Find the dependencies that it waits for."""
    if not case.task.hold & Hold.DEPENDENCY:
        return
    shown = select(_PARENTS, {"task_id": case.task.task_id})
    if not shown:
        yield _released({"parents": 0})
        return
    first = shown[0]
    join = Join(**{name: first[name] for name in ("parents", "completed", "unfinished", "gone")})
    shown = [row for row in shown if row["state"] not in ("completed", "gone")]
    detail = {**_counts(case, join, first["fallen"]), "waits_for": [_named(row) for row in shown]}
    if join.is_satisfied(case.task.join_quorum, case.task.join_deadline_at, case.as_of):
        yield _released(detail)
        return
    deep = any(row["state"] == "waiting" or row["unrunnable_because"] for row in shown)
    causes = select(_FIRST_CAUSES, {"task_id": case.task.task_id}) if deep else []
    unreachable = _falls_short(case, join)
    more = join.unfinished + first["fallen"] - len(shown)
    text = f"{_how_many(case, join)}: {', '.join(map(_described, shown))}{f' and {more:,} more' if more > 0 else ''}."
    if unreachable:
        text += " The unfinished ones are not enough, so it waits until an operator acts."
    if causes:
        text += f" They are blocked by {_described(causes[0])}."
    code = Code.WAITING_ON_FAILURE if unreachable else Code.WAITING
    yield blocking(code, text, _remedy((causes or shown)[0]), **detail, first_causes=[_named(row) for row in causes])


def _falls_short(case: Case, join: Join) -> bool:
    """Whether too few can still complete, unless an operator retries some."""
    if case.task.join_quorum is None:
        return join.completed + join.gone + join.unfinished < join.parents
    return join.completed + join.unfinished < case.task.join_quorum


def _counts(case: Case, join: Join, fallen: int) -> dict[str, Any]:
    return {
        "parents": join.parents,
        "completed": join.completed,
        "unfinished": join.unfinished,
        "failed_or_cancelled": fallen,
        "gone": join.gone,
        "quorum": case.task.join_quorum,
        "deadline_at": case.task.join_deadline_at,
    }


def _how_many(case: Case, join: Join) -> str:
    quorum, deadline = case.task.join_quorum, case.task.join_deadline_at
    if quorum is None:
        return f"It waits for {join.parents - join.completed - join.gone:,} of {formats.count(join.parents, 'task')}"
    if deadline is None:
        then = "becomes claimable as soon as its quorum has completed"
    elif deadline > case.as_of:
        then = f"waits for all until its join deadline, {case.until(deadline)}"
    else:
        then = f"its join deadline has passed, {case.until(deadline)}"
    return f"It needs {quorum:,} of {formats.count(join.parents, 'task')}, has {join.completed:,} and {then}"


def _described(row: dict[str, Any]) -> str:
    name = f"{row['task_name']} {short_id(row['task_id'])}"
    if row["failure_class"] and row["state"] in ("failed", "quarantined", "retrying"):
        error = formats.first_line(row["error"], ERROR_CHARS).rstrip(".")
        return f"{name} ({row['state']} as {row['failure_class']}: {error})"
    return f"{name} ({row['state']})"


def _named(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "task_id": str(row["task_id"]),
        "task_name": row["task_name"],
        "state": row["state"],
        "failure_class": row["failure_class"] or "",
        "error": formats.first_line(row["error"], ERROR_CHARS),
    }


def _remedy(row: dict[str, Any]) -> str:
    if row["state"] in ("failed", "quarantined", "cancelled"):
        return f"Repair the cause and retry {row['task_name']} {row['task_id']}; this task waits for it."
    return f"Find out what that task waits for: manage.py absurd_explain {row['task_id']}."


def _released(detail: dict[str, Any]) -> Finding:
    text = "Its dependencies are met; the next sweep of a worker or web process makes it claimable."
    return blocking(Code.DUE, text, "Nothing to do while such a process runs.", **detail)
