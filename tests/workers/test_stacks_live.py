"""Where an attempt stood when it was stopped or crashed is kept with it, and can be read in its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_app.actions.cancel import cancel
from tests.workers.live import attempts, finished, spawn_one, with_progress
from workers import stacks

pytestmark = pytest.mark.chaos


def test_the_stacks_of_stopped_and_crashed_attempts_are_kept(workers):
    timed_out = spawn_one("hang-in-c", {}, timeout_sec=10, max_retries=0)
    silent = spawn_one("hang-in-c", {}, silence_sec=5, max_retries=0)
    crashed = spawn_one("segfault", {}, max_retries=0)
    cancelled = spawn_one("sleep", {"seconds": 60})
    well = spawn_one("echo", {})
    workers.start("--concurrency", "5")
    with_progress(cancelled)
    cancel(cancelled.task_id, actor="user:test", reason="wrong tile")
    for task, function in (
        (timed_out, "in hang_in_c"),
        (silent, "in hang_in_c"),
        (crashed, "in segfault"),
        (cancelled, "in sleep"),
    ):
        finished(task)
        (attempt,) = attempts(task)
        assert function in attempt.stack
        assert "most recent call first" in attempt.stack
        assert function in Path(attempt.log_path).read_text()
        assert len(attempt.stack.encode()) <= 40_000
    assert "Segmentation fault" in attempts(crashed)[0].stack
    assert "nanosleep" in attempts(timed_out)[0].stack  # where in the kernel it hung
    assert attempts(finished(well))[0].stack == ""


def test_a_long_dump_keeps_its_head_and_its_tail():
    kept = stacks.Stacks()
    with open(kept.fd, "wb", closefd=False) as stream:
        stream.write(b"first\n" + b"x" * 100_000 + b"\nlast")
    text = kept.text()
    assert text.startswith("first") and text.endswith("last") and "bytes left out" in text
    assert len(text) < 33_000
    assert kept.news().endswith(b"last") and kept.news() == b""
