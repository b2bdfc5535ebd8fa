"""An attempt that shows no sign of work is stopped; one that does something, however slowly, is not."""

from __future__ import annotations

import pytest

from tests.workers.live import outcomes, spawn_one

pytestmark = pytest.mark.chaos


def test_a_hang_is_told_from_slow_work(workers):
    hangs = spawn_one("hang-in-c", {}, idle_timeout_sec=4, max_retries=0)
    reports = spawn_one("sleep", {"seconds": 8, "steps": 16}, idle_timeout_sec=4)
    patient = spawn_one("sleep", {"seconds": 8, "steps": 1})
    workers.burst("--concurrency", "3")
    for task in (hangs, reports, patient):
        task.refresh_from_db()
    assert (hangs.status, hangs.failure_class) == ("failed", "idle_timeout")
    assert "no progress" in hangs.error
    assert (outcomes(reports), outcomes(patient)) == (["completed"], ["completed"])
