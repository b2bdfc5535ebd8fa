"""Hosts that lacked what a task needs are not given it again for a time, which grows with each attempt there."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tasks_app import formats
from tasks_app.models import Task, Worker
from tasks_app.postgresql import clock, statements

FIRST_SEC = 15.0
MOST_SEC = 600.0
REASON_CHARS = 200


def noted(task: Task, reason: str, moment: datetime) -> dict[str, Any]:
    """Return `Task.unavailable_on` after an attempt that ended as unavailable on the host of the task's worker."""
    worker: Worker | None = task.worker
    before: dict[str, Any] = task.unavailable_on
    if worker is None:
        return before
    times = before.get(worker.host_id, {}).get("times", 0) + 1
    wait_sec = min(MOST_SEC, FIRST_SEC * 2.0 ** min(times - 1, 30))
    entry = {
        "host": worker.host,
        "until": clock.stamp(moment + timedelta(seconds=wait_sec)),
        "times": times,
        "reason": formats.first_line(reason, REASON_CHARS),
    }
    return {**before, worker.host_id: entry}


_FORGET = """
UPDATE tasks_app_task SET unavailable_on = unavailable_on - %(host_id)s::text
WHERE status = 'pending' AND unavailable_on <> '{}' AND jsonb_exists(unavailable_on, %(host_id)s::text)
RETURNING id
"""


def forget(host_id: str) -> int:
    """Let a host that has changed try again at once what it could not do; return how many tasks that concerns."""
    return len(statements.run(_FORGET, {"host_id": host_id}))
