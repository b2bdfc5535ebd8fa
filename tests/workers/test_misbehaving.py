"""Whatever a handler returns, raises, reports or closes: how it ended reaches the row, and in words."""

from __future__ import annotations

import select
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tasks_app.engine.claim import Claim, claim_tasks
from tasks_app.engine.lease import report_progress
from tasks_app.models import Attempt, Task
from tests.tasks_app.notes import make_worker
from tests.workers.live import spawn_one
from workers import outcome_writer
from workers.execution import Execution
from workers.process import environment, handle, supervisor
from workers.process.outcome import Stop
from workers.process.protocol import METRICS_MOST
from workers.process.supervisor import ProcessExecution
from workers.threads import ThreadExecution, ThreadPool

pytestmark = pytest.mark.django_db
HANDLER = "tests.workers.misbehaving:run"

FAILS = {
    "mute": ("error", "Mute: <Mute without a text: str() raised ValueError>"),
    "mute_invalid": ("invalid", "<MuteInvalid without a text"),
    "mute_in_chain": ("error", "RuntimeError: second"),
    "surrogate_message": ("error", r"RuntimeError: cannot read ob\xffs.ms"),
    "nul_message": ("invalid", "bad\N{REPLACEMENT CHARACTER}header"),
    "long_message": ("error", "characters left out"),
    "exit_with_odd_code": ("error", r"the handler called exit(ob\xffs.ms)"),
    "big_integer": ("error", "result.inner.n is an integer of some 5001 digits"),
    "not_a_number": ("error", "result.n is nan"),
    "deep": ("error", "is nested more than 100 deep"),
    "cyclic": ("error", "is nested more than 100 deep"),
    "pipe_as_output": ("error", "pipe is not a regular file but a named pipe"),
    "surrogate_product": ("error", r"im\xffage.txt"),
}
COMPLETES: dict[str, Any] = {
    "surrogate_result": {"path": r"ob\xffs.ms", "list": ["a\N{REPLACEMENT CHARACTER}b"]},
    "nul_key": {"a\N{REPLACEMENT CHARACTER}b": 1},
    "odd_progress": {"ok": 1},
    "odd_product": {},
}
FAILS_IN_A_PROCESS = {
    "large_result": ("error", "the result has 40000"),
    "closed_streams_and_error": ("error", "RuntimeError: the real reason"),
    "no_streams_and_error": ("error", "RuntimeError: the real reason"),
    "all_descriptors_closed": ("error", "the handler closed the pipe to the worker"),
}
COMPLETES_IN_A_PROCESS = {
    "closed_streams": {"ok": 1},
    "closed_descriptors": {"ok": 1},
    "fork_that_returns": {"who": "parent"},
}


@pytest.fixture(autouse=True)
def own_directories(tmp_path, settings) -> None:
    settings.ABSURD_VAR, settings.ABSURD_DATA_ROOTS = tmp_path / "var", (tmp_path / "data",)
    environment.make_shared(tmp_path / "var")


def start(mode: str, kind: str, directory: Path) -> tuple[Execution, Task, list[int]]:
    task = spawn_one("echo", max_retries=0)
    (claim,) = claim_tasks(make_worker(), limit=1)
    claim = Claim(**{**claim.__dict__, "params": {"mode": mode}})
    if kind == "process":
        execution: Execution = ProcessExecution(claim, root=directory / "data", host_memory_gb=4.0)
        return execution, task, execution.start(HANDLER)
    pool = ThreadPool(1)
    threaded = ThreadExecution(claim, pool=pool, root=directory / "data")
    threaded.listen = lambda: pool.collect() or []  # type: ignore[method-assign,func-returns-value]
    threaded.start(HANDLER)
    return threaded, task, [pool.fd]


def run(mode: str, kind: str, directory: Path) -> tuple[Execution, Task]:
    """Run the handler to its end and deliver how it ended, as a worker does."""
    execution, task, fds = start(mode, kind, directory)
    while execution.outcome is None:
        select.select(fds, [], [])
        ended = execution.listen()
        fds = [fd for fd in fds if fd not in ended]
    while not outcome_writer.deliver(execution):
        pass
    execution.close()
    handle.reap(60)
    task.refresh_from_db()
    return execution, task


@pytest.mark.parametrize("kind", ["process", "thread"])
@pytest.mark.parametrize("mode", FAILS)
def test_the_reason_of_a_failure_reaches_the_row(mode, kind, tmp_path):
    expect_failure(mode, kind, tmp_path, *FAILS[mode])


@pytest.mark.parametrize("mode", FAILS_IN_A_PROCESS)
def test_the_reason_reaches_the_row_whatever_is_closed(mode, tmp_path):
    expect_failure(mode, "process", tmp_path, *FAILS_IN_A_PROCESS[mode])


def expect_failure(mode: str, kind: str, directory: Path, failure_class: str, reason: str) -> None:
    _, task = run(mode, kind, directory)
    assert (task.status, task.failure_class) == ("failed", failure_class)
    assert reason in task.error and len(task.error) <= 10_000
    if mode == "long_message":
        assert task.error.startswith("RuntimeError: begin") and task.error.endswith("end")
    attempt = Attempt.objects.get(task_id=task.task_id)
    assert reason in attempt.error and len(attempt.traceback) <= 100_000


@pytest.mark.parametrize("kind", ["process", "thread"])
@pytest.mark.parametrize("mode", COMPLETES)
def test_what_can_be_cleaned_completes(mode, kind, tmp_path):
    execution, task = run(mode, kind, tmp_path)
    assert (task.status, task.result) == ("completed", COMPLETES[mode])
    if mode == "odd_progress":
        assert (progress := execution.take_progress()) is not None and len(progress.metrics) <= METRICS_MOST


@pytest.mark.parametrize("mode", COMPLETES_IN_A_PROCESS)
def test_it_completes_although_descriptors_are_closed_or_shared(mode, tmp_path):
    execution, task = run(mode, "process", tmp_path)
    assert (task.status, task.result) == ("completed", COMPLETES_IN_A_PROCESS[mode])
    if mode == "closed_descriptors":
        assert (execution.places.published_dir / "table.dat").read_bytes() == b"SCIENCE DATA\n"


def test_a_python_that_does_not_start_costs_no_retry(tmp_path, monkeypatch):
    of_child = environment.of_child
    monkeypatch.setattr(environment, "of_child", lambda **given: of_child(**given) | {"PYTHONHOME": "/not-there"})
    _, task = run("nul_no_work", "process", tmp_path)
    assert (task.status, task.retry_count) == ("pending", 0)
    assert Attempt.objects.get(task_id=task.task_id).outcome == "unavailable"


def test_no_work_keeps_its_reason(tmp_path):
    _, task = run("nul_no_work", "process", tmp_path)
    assert task.failure_class == "no_work" and r"nothing in ob\xffs.ms" in (task.error or "")


def test_progress_that_was_cleaned_can_be_stored(tmp_path):
    execution, task, fds = start("odd_progress", "thread", tmp_path)
    while execution.outcome is None:
        select.select(fds, [], [])
        execution.listen()
    progress = execution.take_progress()
    assert progress is not None
    report_progress(execution.claim, fraction=progress.fraction, message=progress.message, metrics=progress.metrics)
    task.refresh_from_db()
    assert len(task.progress_message) <= 300 and len(task.progress_metrics) <= METRICS_MOST


def test_a_guardian_that_does_not_answer_keeps_no_slot(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "GUARDIAN_ANSWERS_WITHIN_SEC", 0.5)
    execution, _, fds = start("stopped_guardian", "process", tmp_path)
    while execution.take_progress() is None:
        select.select(fds, [], [])
        execution.listen()
    execution.stop(Stop(failure_class="timeout", message="ran for too long"), grace_sec=0.1)
    give_up_at = time.monotonic() + 120
    while execution.outcome is None:
        assert time.monotonic() < give_up_at
        select.select(fds, [], [], 0.1)
        execution.check_limits()
        execution.listen()
    assert (execution.outcome.failure_class, execution.outcome.message) == ("timeout", "ran for too long")
    assert execution.survivors() == []
    execution.close()
    assert execution._handle.guardian.wait() == -signal.SIGKILL  # type: ignore[attr-defined]
