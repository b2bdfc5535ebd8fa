"""The page of a worker in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tests.browser.visitor import Visitor
from tests.tasks_app.finished import days_ago
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_the_slots_and_what_it_cannot_run_fit_and_are_accessible(visit: Callable[..., Visitor], width: int, theme: str):
    worker = make_worker(concurrency=2, task_names=["note"], missing_roots=["/data/raw"])
    for hours in (3, 2, 1):
        with days_ago(hours / 24):
            spawn_note(priority=20, max_retries=0)
            claim = claim_one(worker)
        with days_ago((hours - 0.6) / 24):
            if hours == 2:
                fail_attempt(claim, "invalid", "no such file", REPORT)
            else:
                complete_task(claim, {}, REPORT)
    spawn_note()
    running = claim_one(worker)
    visitor = visit("Operator", width=width, theme=theme)
    page = visitor.open(reverse("admin:tasks_app_worker_change", args=[worker.pk]))
    visitor.look(f"worker-{width}-{theme}")
    assert page.locator(".chart-canvas canvas").count() == 1
    expect(page.locator("[data-live=facts]")).to_contain_text("nothing: /data/raw is not mounted")
    expect(page.locator("[data-live=facts]")).to_contain_text("calibrate-target")
    assert visitor.overflow_px() == 0
    assert visitor.serious_faults() == []
    page.wait_for_selector("#live-state[data-state=live]")
    complete_task(running, {}, REPORT)
    expect(page.locator("[data-live=running]")).to_contain_text("Nothing", timeout=60_000)
