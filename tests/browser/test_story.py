"""An operator at night: a worker is killed, the light says why, the stalled task is read, retried, and all is well."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tasks_app.models import Attempt, Task, TaskEvent, TaskStatus, Worker
from tests.browser.visitor import Visitor
from tests.workers.live import LiveWorkers, spawn_one, wait_for

pytestmark = pytest.mark.django_db(transaction=True)
CLICKS_MOST = 6
HEARTBEAT_SEC = 2
"""A worker that has missed three counts as stale: the light turns amber."""


@pytest.fixture
def workers(live_environment: dict[str, str], tmp_path: Path) -> Iterator[LiveWorkers]:
    live_environment |= {"ABSURD_DIAGNOSTICS": "true", "ABSURD_HEARTBEAT_SEC": str(HEARTBEAT_SEC)}
    live = LiveWorkers(live_environment, tmp_path)
    yield live
    live.kill_all()


def test_from_a_killed_worker_to_a_completed_task_in_six_clicks(workers: LiveWorkers, visit: Callable[..., Visitor]):
    for _ in range(2):
        workers.start("--concurrency", "1")
    wait_for(lambda: Worker.objects.live().count() == 2, 120)
    visitor = visit("Operator")
    page = visitor.open("/admin/")
    expect(page.locator("[data-live=light] .pill")).to_contain_text("healthy")
    # The task makes its worker die by SIGKILL, as one does that takes all memory; the worker misses its heartbeats.
    task = spawn_one("kill-worker", {"succeed_on_attempt": 2})
    wait_for(lambda: any(process.poll() is not None for process in workers.started), 120)
    killed = Attempt.objects.get(task_id=task.task_id).worker
    assert killed is not None
    assert [process.returncode for process in workers.started if process.poll() is not None] == [-signal.SIGKILL]
    assert Task.objects.get().status == TaskStatus.CLAIMED
    expect(page.locator("[data-live=light] .pill")).to_contain_text("degraded")
    expect(page.locator("[data-live=attention]")).to_contain_text(f"worker {killed.label}@")
    expect(page.locator("[data-live=attention]")).to_contain_text("still claimed: 1")
    amber_at = time.monotonic()
    visitor.look("story-1-amber")
    visitor.click("[data-live=stalled] td a")
    expect(page.locator(".log-viewer .severe")).to_contain_text("killing worker", timeout=60_000)
    # Until then the worker may be at work, and its claim is not taken from it.
    expect(page.locator("[data-live=explanation]")).to_contain_text("is lost", timeout=120_000)
    visitor.look("story-2-task")
    assert visitor.serious_faults() == []
    visitor.click("[data-live=operations] >> text=Requeue…")
    page.fill("input[name=reason]", "its worker was killed")
    visitor.click("input[name=confirmed]")
    workers.start("--concurrency", "1", "--worker-id", killed.label)  # as the service manager does
    expect(page.locator("h1 .pill")).to_contain_text("completed", timeout=120_000)
    visitor.click(".breadcrumbs >> text=Control room")
    expect(page.locator("[data-live=light] .pill")).to_contain_text("healthy", timeout=60_000)
    expect(page.locator("[data-live=attention]")).to_contain_text("Nothing needs attention")
    visitor.look("story-3-green")
    print(f"from amber to green: {visitor.clicks} clicks, {time.monotonic() - amber_at:.1f} s")
    assert visitor.clicks <= CLICKS_MOST
    retried = TaskEvent.objects.get(task_id=task.task_id, event_type="retrying")
    assert retried.actor == "user:operator-0"
