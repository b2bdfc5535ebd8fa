"""What becomes of a task, seen from outside: real worker, real child, real database."""

from __future__ import annotations

from pathlib import Path

from tests.workers.live import attempts, outcomes, spawn_one, verbs


def test_it_completes_a_task_and_publishes_its_products(workers):
    task = spawn_one("echo", {"value": {"flux_jy": 1.5}, "outputs": {"a/table.txt": "fluxes"}})
    log = workers.burst()
    task.refresh_from_db()
    (attempt,) = attempts(task)
    (path,) = task.result["paths"]
    assert (task.status, task.result["value"]) == ("completed", {"flux_jy": 1.5})
    assert Path(path).read_text() == "fluxes"
    assert Path(path).relative_to(workers.data / "echo").parts[0].endswith(f".{str(attempt.claim_token)[:8]}")
    assert (attempt.outcome, attempt.exit_code) == ("completed", 0)
    assert attempt.peak_rss_bytes > 10_000_000 and attempt.cpu_sec > 0
    assert Path(attempt.log_path).is_file()
    assert not Path(attempt.directory).exists()
    assert f"task={task.task_id} attempt=1 name=echo" in log
