"""The queue's upkeep while it is measured: the sweeps, and finished tasks removed that are old enough."""

from __future__ import annotations

import time

from django.db import connection

from tasks_app.sweeper import Sweeper

SWEEP_SEC = 0.5
BATCH = 2_000

_PRUNE = """
WITH old AS (
    DELETE FROM tasks_app_task WHERE id = ANY(ARRAY(
        SELECT id FROM tasks_app_task WHERE completed_at < absurd_now() - %(kept_sec)s * interval '1 second'
        ORDER BY completed_at, id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
    )) RETURNING task_id
), attempts AS (
    DELETE FROM tasks_app_attempt WHERE task_id = ANY(ARRAY(SELECT task_id FROM old))
), events AS (
    DELETE FROM tasks_app_taskevent WHERE task_id = ANY(ARRAY(SELECT task_id FROM old))
)
SELECT count(*) FROM old
"""


def sweep_and_prune(duration_sec: float, kept_sec: float) -> int:
    """Do both every half second; return how many tasks were removed."""
    sweeper, began, pruned = Sweeper(), time.monotonic(), 0
    while time.monotonic() - began < duration_sec:
        sweeper.sweep()
        while (few := _prune(kept_sec)) > 0 and time.monotonic() - began < duration_sec:
            pruned += few
            if few < BATCH:
                break
        time.sleep(SWEEP_SEC)
    return pruned


def _prune(kept_sec: float) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_PRUNE, {"kept_sec": kept_sec, "batch": BATCH})
        removed: int = cursor.fetchone()[0]
    return removed
