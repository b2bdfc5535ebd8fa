"""What an attempt uses and that it is being stopped are known while it runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tasks_app.engine.claim import claim_tasks
from tasks_app.models import Attempt, Task
from tasks_app.monitoring import usage
from tasks_app.monitoring.explain.explanation import explain
from tasks_app.operations.tasks import cancel
from tests.tasks_app.notes import make_worker
from tests.workers.live import attempts, child_of, finished, outcomes, spawn_one, wait_for, with_progress

pytestmark = pytest.mark.chaos


def test_the_use_of_resources_is_shown_while_an_attempt_runs_and_kept_after_it(workers):
    task = spawn_one("burn", {"cpu_sec": 6, "write_mb": 40, "helper": True})
    workers.start()
    with_progress(task)

    def sampled() -> Attempt | None:
        (attempt,) = attempts(task)
        return attempt if (attempt.cpu_sec or 0) > 0.5 else None

    live = wait_for(sampled)
    assert live.ended_at is None and live.sampled_at > live.started_at
    assert live.peak_rss_bytes > 10e6
    assert live.write_bytes >= 40e6  # most of it written by a helper process that has ended since
    finished(task)
    (ended,) = attempts(task)
    assert ended.cpu_sec > live.cpu_sec and ended.cpu_sec >= 6
    assert ended.write_bytes >= live.write_bytes
    assert ended.read_bytes is not None and ended.peak_rss_bytes > 10e6


def test_a_stop_is_announced_with_the_time_by_which_the_slot_is_free(workers, settings):
    task = spawn_one("hang-in-c")
    workers.start(ABSURD_STOP_GRACE_SEC="4")
    with_progress(task)
    # Meanwhile it is measured: the first point comes after a few seconds.
    measured = wait_for(lambda: Attempt.objects.filter(task_id=task.task_id, usage_series__isnull=False).first())
    point = usage.points_of(measured.usage_series)[0]
    assert point.at_sec >= usage.SERIES_STEP_SEC and point.rss_mb > 10
    cancel(task.task_id, actor="user:ada", reason="wrong tile")
    stopping = wait_for(lambda: Attempt.objects.filter(task_id=task.task_id, stop_asked_at__isnull=False).first())
    assert stopping.ended_at is None
    assert (stopping.stop_due_at - stopping.stop_asked_at).total_seconds() == pytest.approx(6.0)
    assert stopping.stop_reason == "cancelled by user:ada: wrong tile"
    finished(task)
    (ended,) = attempts(task)
    assert ended.stop_asked_at < ended.ended_at <= ended.stop_due_at
    assert (task.status, task.error) == ("cancelled", "cancelled by user:ada: wrong tile")


TRACER = """
import ctypes, sys, time
libc = ctypes.CDLL(None)
libc.ptrace.argtypes = [ctypes.c_long] * 4
SEIZE, TRACE_EXIT = 0x4206, 1 << 6
sys.exit(1) if libc.ptrace(SEIZE, int(sys.argv[1]), 0, TRACE_EXIT) else print("traced", flush=True)
time.sleep(600)
"""


@pytest.fixture
def unkillable() -> Iterator[Callable[[int], Callable[[], None]]]:
    """Yield a way to make a process outlive SIGKILL, as one does whose disk does not answer; it returns its undoing."""
    tracers: list[subprocess.Popen[bytes]] = []

    def hold(pid: int) -> Callable[[], None]:
        tracer = subprocess.Popen([sys.executable, "-c", TRACER, str(pid)], stdout=subprocess.PIPE)
        tracers.append(tracer)
        assert tracer.stdout is not None
        with tracer.stdout as output:
            assert output.readline() == b"traced\n"

        def release() -> None:
            tracer.kill()
            tracer.wait()

        return release

    yield hold
    for tracer in tracers:
        tracer.kill()
        tracer.wait()


def test_an_attempt_that_the_kernel_holds_keeps_its_slot_and_says_so(workers, unkillable):
    task = spawn_one("sleep", {"seconds": 600}, timeout_sec=3, max_retries=0)
    workers.start()
    with_progress(task)
    child = child_of(task)

    def held() -> Attempt | None:
        (attempt,) = attempts(task)
        return attempt if f": {child.pid} t " in attempt.stop_reason else None

    release = unkillable(child.pid)
    attempt = wait_for(held)
    assert attempt.stop_due_at is None and attempt.ended_at is None and "longer than its timeout" in attempt.stop_reason
    task.refresh_from_db()
    assert task.status == "claimed"
    (finding,) = [each for each in explain(task).findings if each.code == "stopping"]
    assert "does not end" in finding.text and str(child.pid) in finding.text
    release()
    assert finished(task).status == "failed"
    assert outcomes(task) == ["timeout"]


@pytest.mark.django_db
def test_what_a_lost_claim_uses_is_not_stored():
    task = spawn_one("echo")
    (claim,) = claim_tasks(make_worker(), limit=1)
    sample = usage.Used(claim_token=claim.claim_token, peak_rss_bytes=1, cpu_sec=1.0, read_bytes=1, write_bytes=1)
    usage.store([sample])
    assert attempts(task)[0].write_bytes == 1
    Task.objects.filter(pk=task.pk).update(claim_token="00000000-0000-0000-0000-000000000001")
    usage.store([usage.Used(claim_token=claim.claim_token, peak_rss_bytes=2, cpu_sec=2.0, read_bytes=2, write_bytes=2)])
    assert attempts(task)[0].write_bytes == 1
