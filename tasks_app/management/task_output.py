"""Tasks and explanations as commands write them: lines for people, or JSON in the shapes of the API."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tasks_app.engine import archive
from tasks_app.formats import duration, first_line, moment
from tasks_app.management.printing import table
from tasks_app.models import Attempt, Task, TaskEvent
from tasks_app.monitoring.explain.findings import Explanation

LISTED_COLUMNS = ("TASK", "STATUS", "NAME", "QUEUE", "PRIO", "TRY", "CREATED", "TOOK", "WORKER", "ERROR")
ERROR_CHARS = 80
JSON_CHARS = 2_000


def listed_row(task: Task) -> tuple[object, ...]:
    """Return a task's row in a list."""
    took = task.duration_sec
    return (
        task.task_id,
        task.display_status,
        task.task_name,
        task.queue_id,
        task.priority,
        f"{task.claim_epoch}/{task.max_retries + 1}",
        task.created_at,
        None if took is None else duration(took),
        task.worker.label if task.worker else None,
        first_line(getattr(task, "error_head", None), ERROR_CHARS),
    )


def page_of(task: Task, attempts: Sequence[Attempt], events: Sequence[TaskEvent]) -> Iterator[str]:
    """Yield the lines that describe a task with its history."""
    yield f"{task.task_name} {task.task_id}"
    for name, value in _facts(task):
        if value not in (None, ""):
            yield f"  {name:<11} {value}"
    if task.error:
        yield from ("", "error", *(f"  {line}" for line in task.error.rstrip().split("\n")))
    if attempts:
        columns = ("N", "OUTCOME", "STARTED", "TOOK", "WORKER", "ERROR")
        yield from ("", "attempts", *_indented(table(columns, _rows(attempts))))
    if events:
        rows = ((event.created_at, event.event_type, event.actor, event.reason) for event in events)
        yield from ("", "events", *_indented(table(("AT", "EVENT", "ACTOR", "REASON"), rows)))


def _facts(task: Task) -> Iterator[tuple[str, object]]:
    yield "status", task.display_status + (f" ({task.failure_class})" if task.failure_class else "")
    if task.status == "claimed":
        done = "" if task.progress is None else f"{task.progress:.0%} "
        yield "progress", f"{done}{task.progress_message}"
    yield "queue", f"{task.queue_id}, priority {task.priority}"
    yield "run", f"{task.run.run_id}, stage {task.stage}" if task.run else None
    yield "attempts", f"{task.claim_epoch}, {task.retry_count} of {task.max_retries} retries used"
    yield "worker", f"{task.worker.label} on {task.worker.host}" if task.worker else None
    yield "created", f"{moment(task.created_at)} by {task.created_by}"
    for name in ("claimed_at", "completed_at", "cancel_requested_at", "quarantined_at"):
        at = getattr(task, name)
        yield name.removesuffix("_at").replace("_", " "), moment(at) if at else None
    yield "took", None if task.duration_sec is None else duration(task.duration_sec)
    yield "params", _json(task.params)
    yield "result", _json(task.result) if task.result is not None else None


def _rows(attempts: Sequence[Attempt]) -> Iterator[tuple[object, ...]]:
    for attempt in attempts:
        took = attempt.wall_sec
        yield (
            attempt.number,
            attempt.outcome or "running",
            attempt.started_at,
            None if took is None else duration(took),
            f"{attempt.worker.label}@{attempt.worker.host}" if attempt.worker else None,
            first_line(attempt.error, ERROR_CHARS),
        )


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= JSON_CHARS else f"{text[:JSON_CHARS]}… (--json shows all)"


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def detail_of(task: Task) -> dict[str, Any]:
    """Return the full representation."""
    from tasks_app.api.views.tasks import detail_of as shape_of  # here, because it loads the API's libraries

    return shape_of(task)


def summaries_of(tasks: Iterable[Task]) -> list[dict[str, Any]]:
    """Return tasks as lists show them."""
    from tasks_app.api.serializers import TaskSummarySerializer

    return list(TaskSummarySerializer(tasks, many=True).data)


def histories_of(task: Task, events_most: int) -> tuple[list[Attempt], list[TaskEvent]]:
    """Return the task's attempts and its newest events, both oldest first, also from the archive."""
    if archive.is_archived(task):
        return archive.attempts_of(task.task_id), archive.events_of(task.task_id)[-events_most:]
    attempts = Attempt.objects.filter(task_id=task.task_id).select_related("worker").order_by("number")
    events = TaskEvent.objects.filter(task_id=task.task_id).order_by("-id")[:events_most]
    return list(attempts), list(events)[::-1]


def shape_with_history(task: Task, attempts: list[Attempt], events: list[TaskEvent]) -> dict[str, Any]:
    """Return the task, its attempts and events as the API shows them."""
    from tasks_app.api.serializers import AttemptSerializer, EventSerializer

    return {
        "task": detail_of(task),
        "attempts": AttemptSerializer(attempts, many=True).data,
        "events": EventSerializer(events, many=True).data,
    }


def shape_of(explanation: Explanation) -> dict[str, Any]:
    """Return what the API answers."""
    from tasks_app.api.serializers import ExplanationSerializer  # here, because it loads the API's libraries

    return dict(ExplanationSerializer(explanation).data)


def lines_of(explanation: Explanation) -> list[str]:
    """Return the lines for people."""
    lines = [
        f"{explanation.task_name} {explanation.task_id} in {explanation.queue_name}: {explanation.state} at "
        f"{moment(explanation.as_of)}",
        explanation.summary,
    ]
    for number, finding in enumerate(explanation.findings, start=1):
        lines += ["", f"{number}. {finding.code} ({finding.severity}): {finding.text}"]
        if finding.remedy:
            lines.append(f"   Remedy: {finding.remedy}")
    return lines
