"""Links of the OpenAPI schema: which operations go on from what another has answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Way:
    """From the answers of some operations to others, with the parameters and the body that these take."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    parameters: Mapping[str, str]
    body: Mapping[str, Any] | None = None


_TASK_VERBS = ("cancel_task", "reprioritize_task", "retry_task", "requeue_task", "respawn_task")
_TASK_VIEWS = ("get_task", "task_events", "task_attempts", "explain_task", "task_log")
_RUN_VERBS = ("cancel_run", "retry_run")
_SCHEDULE_VERBS = ("change_schedule", "enable_schedule", "disable_schedule", "run_schedule", "delete_schedule")
_WORKER_VERBS = ("pause_worker", "resume_worker", "drain_worker", "recycle_worker")
_CONFIRMED = {"dry_run": False, "token": "$response.body#/token", "reason": "$request.body#/reason"}

WAYS = (
    Way(
        ("spawn_task", "run_schedule", "get_task", *_TASK_VERBS),
        (*_TASK_VIEWS, *_TASK_VERBS),
        {"task_id": "$response.body#/task_id"},
    ),
    Way(("list_tasks", "spawn_tasks"), (*_TASK_VIEWS, *_TASK_VERBS), {"task_id": "$response.body#/tasks/0/task_id"}),
    Way(
        ("task_attempts",),
        ("attempt_log",),
        {"task_id": "$request.path.task_id", "number": "$response.body#/attempts/0/number"},
    ),
    Way(("spawn_run", "get_run"), ("get_run", "get_run_graph", *_RUN_VERBS), {"run_id": "$response.body#/run_id"}),
    Way(_RUN_VERBS, ("get_run", *_RUN_VERBS), {"run_id": "$response.body#/run/run_id"}),
    Way(("list_runs",), ("get_run", *_RUN_VERBS), {"run_id": "$response.body#/runs/0/run_id"}),
    Way(("get_run", "get_run_graph"), ("get_task",), {"task_id": "$response.body#/nodes/0/task_id"}),
    Way(("list_schedules",), ("get_schedule", *_SCHEDULE_VERBS), {"name": "$response.body#/schedules/0/name"}),
    Way(
        ("save_schedule", "get_schedule", "change_schedule", "enable_schedule", "disable_schedule"),
        ("get_schedule", "save_schedule", *_SCHEDULE_VERBS),
        {"name": "$response.body#/name"},
    ),
    Way(("delete_schedule",), ("get_schedule", "save_schedule"), {"name": "$request.path.name"}),
    Way(("list_workers",), ("get_worker", *_WORKER_VERBS), {"worker_id": "$response.body#/workers/0/boot_id"}),
    Way(("get_worker", *_WORKER_VERBS), ("get_worker", *_WORKER_VERBS), {"worker_id": "$response.body#/boot_id"}),
    Way(("emergency_stop",), ("emergency_stop",), {}, _CONFIRMED),
    Way(("emergency_recover",), ("emergency_recover",), {}, _CONFIRMED),
    Way(("bulk",), ("bulk",), {}, {"verb": "$request.body#/verb", "filter": "$request.body#/filter", **_CONFIRMED}),
)


def add_links(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Write the ways into every successful answer of their sources."""
    operations = {each["operationId"]: each for path in result["paths"].values() for each in path.values()}
    for way in WAYS:
        for source in way.sources:
            for answer in _successes(operations[source]):
                answer.setdefault("links", {}).update((target, _link(target, way)) for target in way.targets)
    return result


def _successes(operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return (answer for status, answer in operation["responses"].items() if status.startswith("2"))


def _link(target: str, way: Way) -> dict[str, Any]:
    body = {} if way.body is None else {"requestBody": dict(way.body)}
    return {"operationId": target, "parameters": dict(way.parameters), **body}
