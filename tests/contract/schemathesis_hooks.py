"""What schemathesis cannot make up while it walks from operation to operation: bodies that more than their types allow.

Only requests that are meant to be right are changed, and only on walks; all other requests are sent as made up.
"""

from __future__ import annotations

from typing import Any

import schemathesis

RIGHT: dict[str, dict[str, Any]] = {
    "spawn_task": {"task_name": "echo", "params": {"value": "a"}},
    "spawn_tasks": {"tasks": [{"task_name": "echo", "params": {"value": number}} for number in range(3)]},
    "respawn_task": {"params": {"value": "b"}},
    "spawn_run": {
        "workflow": "walked",
        "stages": [
            {"name": "many", "task_name": "echo", "fan_out": [{"value": "a"}, {"value": "b"}]},
            {"name": "last", "task_name": "echo", "params": {"value": "c"}, "after": ["many"]},
        ],
    },
    "save_schedule": {"cron": "0 9 * * *", "task_name": "echo", "params": {"value": "d"}, "time_zone": "UTC"},
    "change_schedule": {"cron": "30 9 * * *", "task_name": "echo", "params": {"value": "e"}, "time_zone": "UTC"},
    "retry_run": {"from_stage": "last"},
    "bulk": {"operation": "retry", "filter": {"task_name": "echo"}, "dry_run": True, "reason": "a walk"},
    "emergency_stop": {"dry_run": True, "reason": "a walk"},
    "emergency_recover": {"dry_run": True, "reason": "a walk"},
}
"""Bodies by operation; what else was made up for them stays."""
LEFT_OUT = {"queue_name", "depends_on", "depends_on_runs", "join", "scheduled_at", "expires_at", "label"}
"""Fields that made-up values of the right type hardly ever suit."""
LEFT_OUT_OF = {
    "bulk": {"priority", "force"},
    "emergency_stop": {"cancel_pending", "stop_running", "drain_workers"},
    "emergency_recover": {"retry_failed", "filter", "retry_cancelled", "since", "requeue_stalled", "resume_queues"},
}
"""Fields that do not go with what stands there of an operation's body."""


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Make the body of a right request on a walk one that is accepted, and let lists show all there is."""
    meta, operation = case.meta, case.operation.definition.raw["operationId"]
    if meta is None or meta.phase.name != "stateful" or meta.generation.mode.is_negative:
        return
    if operation.startswith("list_"):
        case.query = {}
    if isinstance(case.body, dict) and "token" not in case.body:
        without = LEFT_OUT | LEFT_OUT_OF.get(operation, set())
        kept = {name: value for name, value in case.body.items() if name not in without}
        case.body = {**kept, **RIGHT.get(operation, {})}
