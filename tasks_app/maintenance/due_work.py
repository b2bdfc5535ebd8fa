"""One cheap look that tells which sweeps have anything to do: most rounds of most processes find nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

from tasks_app.models.querysets import FUTURES
from tasks_app.postgresql import statements

# Each asks for the first row in the order of its partial index. EXISTS would let the server walk the table instead,
# in the belief that one of many rows is found soon.
_LOOK = f"""
SELECT
    (SELECT runnable_at FROM tasks_app_task WHERE status = 'pending' AND hold IN {FUTURES}
        ORDER BY runnable_at LIMIT 1) <= moment,
    (SELECT join_deadline_at FROM tasks_app_task WHERE status = 'pending' AND join_deadline_at IS NOT NULL
        ORDER BY join_deadline_at LIMIT 1) <= moment,
    EXISTS (SELECT FROM tasks_app_schedule WHERE enabled AND next_run_at <= moment),
    (SELECT expires_at FROM tasks_app_task
        WHERE status = 'pending' AND expires_at IS NOT NULL ORDER BY expires_at LIMIT 1) <= moment,
    (SELECT deadline_at FROM tasks_app_task
        WHERE status = 'pending' AND deadline_at IS NOT NULL ORDER BY deadline_at LIMIT 1) <= moment,
    (SELECT lease_until FROM tasks_app_task WHERE status = 'claimed' ORDER BY lease_until LIMIT 1) < moment,
    (SELECT true FROM tasks_app_task WHERE status = 'pending' AND hold = 4
        ORDER BY queue_name, memory_class, rank, id LIMIT 1),
    (SELECT true FROM tasks_app_countdelta ORDER BY id LIMIT 1),
    current_setting('transaction_read_only')::boolean,
    clock_timestamp()
FROM (SELECT absurd_now() AS moment) AS present
"""  # noqa: S608 - a constant


@dataclass(frozen=True)
class Due:
    """Whether there is something to do, by sweep."""

    futures: bool
    joins: bool
    schedules: bool
    overdue: bool
    past_deadline: bool
    leases: bool
    parked: bool
    counts: bool
    read_only: bool
    """The database takes no writes."""
    seen_at: datetime
    """When the database answered, by its own clock."""


def look() -> Due:
    """Look, in one statement over partial indexes."""
    *found, seen_at = statements.run(_LOOK, {})[0]
    names = (each.name for each in fields(Due))
    return Due(seen_at=seen_at, **dict(zip(names, map(bool, found), strict=False)))
