"""An operator at night: a worker is killed, the light says why, the stalled task is read, retried, and all is well."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tasks_app.models import Task, TaskEvent, TaskStatus, Worker
from tasks_app.postgresql import clock
from tests.browser.visitor import Visitor
from tests.workers.live import LiveWorkers, spawn_one, wait_for

pytestmark = pytest.mark.django_db(transaction=True)
CLICKS_MOST = 6
LEASE_SEC = 3600


@pytest.fixture
def workers(live_environment: dict[str, str], tmp_path: Path, settings: Any) -> Iterator[LiveWorkers]:
    settings.ABSURD_LEASE_SEC = LEASE_SEC  # so that no sweep returns the task before the operator does
    live_environment["ABSURD_DIAGNOSTICS"] = "true"
    live = LiveWorkers(live_environment, tmp_path)
    yield live
    live.kill_all()


def test_from_a_killed_worker_to_a_completed_task_in_six_clicks(workers: LiveWorkers, visit: Callable[..., Visitor]):
    task = spawn_one("kill-worker", {"succeed_on_attempt": 2})
    assert workers.start("--concurrency", "1").wait(120) != 0
    assert Task.objects.get().status == TaskStatus.CLAIMED
    workers.start("--concurrency", "1")
    wait_for(Worker.objects.live().filter(label="worker-2").exists)
    killed = Worker.objects.filter(label="worker-1")
    killed.update(heartbeat_at=clock.now() + timedelta(hours=1))  # however slow this machine is
    visitor = visit("Operator")
    page = visitor.open("/admin/")
    expect(page.locator("[data-live=light] .pill")).to_contain_text("healthy", timeout=60_000)
    # The worker misses its heartbeats.
    killed.update(heartbeat_at=clock.now() - timedelta(minutes=5))
    expect(page.locator("[data-live=light] .pill")).to_contain_text("degraded", timeout=60_000)
    expect(page.locator("[data-live=attention]")).to_contain_text("worker worker-1@")
    expect(page.locator("[data-live=attention]")).to_contain_text("still claimed: 1")
    amber_at = time.monotonic()
    visitor.look("story-1-amber")
    visitor.click("[data-live=stalled] td a")
    expect(page.locator(".log-viewer .severe")).to_contain_text("killing worker", timeout=60_000)
    visitor.look("story-2-task")
    assert visitor.serious_faults() == []
    visitor.click("[data-live=operations] >> text=Requeue…")
    page.fill("input[name=reason]", "its worker was killed")
    visitor.click("input[name=confirmed]")
    workers.start("--concurrency", "1", "--worker-id", "worker-1")  # as the service manager does
    expect(page.locator("h1 .pill")).to_contain_text("completed", timeout=120_000)
    visitor.click(".breadcrumbs >> text=Control room")
    expect(page.locator("[data-live=light] .pill")).to_contain_text("healthy", timeout=60_000)
    expect(page.locator("[data-live=attention]")).to_contain_text("Nothing needs attention")
    visitor.look("story-3-green")
    print(f"from amber to green: {visitor.clicks} clicks, {time.monotonic() - amber_at:.1f} s")
    assert visitor.clicks <= CLICKS_MOST
    retried = TaskEvent.objects.get(task_id=task.task_id, event_type="retrying")
    assert retried.actor == "user:operator-0"
