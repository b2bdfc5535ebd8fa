"""Where an attempt stood when it was stopped or crashed is kept with it, and can be read in its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_app.operations.tasks import cancel
from tests.tasks_app.notes import make_worker
from tests.workers.live import attempts, claim_for, finished, outcomes, spawn_one, wait_for, with_progress
from workers.process import environment, resources, stacks
from workers.process.supervisor import ProcessExecution

pytestmark = pytest.mark.chaos


def test_the_stacks_of_stopped_and_crashed_attempts_are_kept(workers):
    timed_out = spawn_one("hang-in-c", {}, timeout_sec=10, max_retries=0)
    silent = spawn_one("hang-in-c", {}, idle_timeout_sec=5, max_retries=0)
    crashed = spawn_one("segfault", {}, max_retries=0)
    cancelled = spawn_one("sleep", {"seconds": 60})
    greedy = spawn_one("eat-memory", {"memory_gb": 0.8}, max_retries=0)
    well = spawn_one("echo", {})
    workers.start("--concurrency", "6")
    with_progress(cancelled)
    cancel(cancelled.task_id, actor="user:test", reason="wrong tile")
    for task, function in (
        (timed_out, "in hang_in_c"),
        (silent, "in hang_in_c"),
        (crashed, "in segfault"),
        (cancelled, "in sleep"),
        (greedy, "in eat_memory"),
    ):
        finished(task)
        (attempt,) = attempts(task)
        assert function in attempt.stack
        assert "most recent call first" in attempt.stack
        assert function in Path(attempt.log_path).read_text()
        assert len(attempt.stack.encode()) <= 40_000
    assert "Segmentation fault" in attempts(crashed)[0].stack
    assert "nanosleep" in attempts(timed_out)[0].stack  # where in the kernel it hung
    assert outcomes(greedy) == ["memory"]
    assert attempts(finished(well))[0].stack == ""


def test_on_a_host_that_runs_out_of_memory_no_moment_is_lost_for_stacks(workers, settings, monkeypatch):
    monkeypatch.setattr(resources, "FREE_FOR_STACKS_BYTES", 2**62)
    spawn_one("eat-memory", {"memory_gb": 0.8})
    (claim,) = claim_for(make_worker(memory_gb=16.0), 1)
    settings.ABSURD_STOP_GRACE_SEC = 10.0
    environment.make_shared(settings.ABSURD_VAR)
    execution = ProcessExecution(claim, root=workers.data, host_memory_gb=claim.memory_gb)
    execution.start("workers.diagnostics:eat_memory")

    def ended() -> bool:
        execution.listen()
        if execution.running:
            execution.check_limits()
        return execution.outcome is not None

    wait_for(ended)
    execution.close()
    assert execution._handle is not None and execution._handle.guardian.wait(60) == 0
    assert execution.outcome is not None and execution.outcome.failure_class == "memory"
    assert execution.report().stack == ""


def test_a_long_dump_keeps_its_head_and_its_tail():
    kept = stacks.Stacks()
    with open(kept.fd, "wb", closefd=False) as stream:
        stream.write(b"first\n" + b"x" * 100_000 + b"\nlast")
    text = kept.text()
    assert text.startswith("first") and text.endswith("last") and "bytes left out" in text
    assert len(text) < 33_000
    assert kept.unlogged().endswith(b"last") and kept.unlogged() == b""
