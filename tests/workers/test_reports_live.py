"""What an attempt uses and that it is being stopped are known while it runs."""

from __future__ import annotations

import pytest

from tasks_app import claiming, usage
from tasks_app.actions.cancel import cancel
from tasks_app.models import Attempt, Task
from tests.tasks_app.notes import make_worker
from tests.workers.live import attempts, finished, spawn_one, wait_for, with_progress

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
    cancel(task.task_id, actor="user:ada", reason="wrong tile")
    stopping = wait_for(lambda: Attempt.objects.filter(task_id=task.task_id, stop_asked_at__isnull=False).first())
    assert stopping.ended_at is None
    assert (stopping.stop_due_at - stopping.stop_asked_at).total_seconds() == pytest.approx(6.0)
    assert stopping.stop_reason == "cancelled by user:ada: wrong tile"
    finished(task)
    (ended,) = attempts(task)
    assert ended.stop_asked_at < ended.ended_at <= ended.stop_due_at
    assert (task.status, task.error) == ("cancelled", "cancelled by user:ada: wrong tile")


@pytest.mark.django_db
def test_what_a_lost_claim_uses_is_not_stored():
    task = spawn_one("echo")
    (claim,) = claiming.claim(make_worker(), limit=1)
    sample = usage.Used(claim_token=claim.claim_token, peak_rss_bytes=1, cpu_sec=1.0, read_bytes=1, write_bytes=1)
    usage.store([sample])
    assert attempts(task)[0].write_bytes == 1
    Task.objects.filter(pk=task.pk).update(claim_token="00000000-0000-0000-0000-000000000001")
    usage.store([usage.Used(claim_token=claim.claim_token, peak_rss_bytes=2, cpu_sec=2.0, read_bytes=2, write_bytes=2)])
    assert attempts(task)[0].write_bytes == 1
