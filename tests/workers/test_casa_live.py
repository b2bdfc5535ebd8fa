"""Real CASA in the queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers.live import attempts, outcomes, spawn_one

pytestmark = [pytest.mark.chaos, pytest.mark.casa]


def test_a_casa_task_that_logs_severe_and_returns_has_failed(workers):
    fails = spawn_one("casa-trial", {"severe": "No valid solutions for spw 0"}, max_retries=0)
    benign = spawn_one("casa-trial", {"severe": "Leap second table TAI_UTC seems out-of-date."})
    workers.burst(timeout_sec=100)
    for task in (fails, benign):
        task.refresh_from_db()
    assert (fails.status, outcomes(fails)) == ("failed", ["error"])
    assert "CASA logged SEVERE" in fails.error and "No valid solutions for spw 0" in fails.error
    assert "\tSEVERE\t" in Path(attempts(fails)[0].log_path).read_text()
    assert (benign.status, benign.result["version"].startswith("6.7")) == ("completed", True)
