"""The queue's upkeep while it is measured: the sweeps, and finished tasks moved into the archive."""

from __future__ import annotations

import time

from tasks_app.maintenance.archiving import archive_batch
from tasks_app.maintenance.retention import Policy
from tasks_app.maintenance.sweeper import Sweeper

SWEEP_SEC = 0.5
BATCH = 2_000


def sweep_and_prune(duration_sec: float) -> int:
    """Do both every half second; return how many tasks were archived."""
    sweeper, began, pruned = Sweeper(), time.monotonic(), 0
    while time.monotonic() - began < duration_sec:
        sweeper.sweep()
        while (few := _prune()) > 0 and time.monotonic() - began < duration_sec:
            pruned += few
            if few < BATCH:
                break
        time.sleep(SWEEP_SEC)
    return pruned


def _prune() -> int:
    return archive_batch(Policy.configured().narrowed(older_than_days=0), limit=BATCH).moved.total()
