"""Nights, queues, schedules and the emergency page in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from tasks_app.engine.claim import claim_tasks
from tasks_app.models import Queue
from tasks_app.operations import queues, schedules
from tests.browser.test_control_room import make_night
from tests.browser.visitor import Visitor
from tests.pipeline_app.test_nights import NIGHT, observe
from tests.tasks_app.admin.test_queues import QUEUE, fill
from tests.tasks_app.notes import make_worker

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]
LOOKS = [(1280, "light"), (390, "dark")]


def check(visitor: Visitor, name: str) -> None:
    """Look at a page: one title, nothing beside the window, nothing that axe-core finds serious."""
    visitor.look(name)
    found = (visitor.page.locator("h1").count(), visitor.overflow_px(), visitor.serious_faults())
    assert found == (1, 0, [])


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_a_night_fits_is_accessible_and_leads_to_tiles_tasks_and_other_nights(visit: Visit, width: int, theme: str):
    make_night()
    for number in (6, 7, 9):
        observe(number, lacks=(5,) if number == 7 else (), declination_deg=33.1)
    observe(279 * 2)
    visitor = visit("Viewer", width=width, theme=theme)
    page = visitor.open(f"{reverse('admin:page_nights')}?night={NIGHT}")
    check(visitor, f"nights-{width}-{theme}")
    assert page.locator("[data-chart=night] canvas").count() == 1
    assert page.locator(".grid tbody tr:not(.reason)").count() == 7
    assert page.locator(".calendar td a").count() == 2
    page.focus(".calendar td a >> nth=1")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Night of 2026-10-03")
    page.click("nav a[rel=prev]")
    page.click(".grid .cell-failed")
    expect(page.locator("h1")).to_contain_text("calibration-solve")


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_queue_and_schedule_fit_are_accessible_and_the_queue_is_paused_in_place(visit: Visit, width: int, theme: str):
    fill(make_worker())
    queues.set_limit("queue", QUEUE, size=4, actor="user:olga", reason="memory")
    wanted = {"cron": "0 3 * * *", "task_name": "note", "params": {"text": "a"}, "time_zone": "America/Los_Angeles"}
    nightly = schedules.save("nightly", **wanted, actor="user:alice")
    schedules.run_now("nightly", actor="user:alice")
    visitor = visit("Administrator", width=width, theme=theme)
    page = visitor.open("/admin/tasks_app/schedule/")
    check(visitor, f"schedules-{width}-{theme}")
    page.click("text=nightly")
    expect(page.locator("h1")).to_contain_text("Schedule nightly")
    check(visitor, f"schedule-{width}-{theme}")
    expect(page.locator("[data-live=upcoming] tbody tr")).to_have_count(5)
    expect(page.locator("[data-live=runs] .pill")).to_have_text(["○ pending"])
    assert page.url.endswith(reverse("admin:tasks_app_schedule_change", args=[nightly.pk]))
    page = visitor.open(reverse("admin:tasks_app_queue_change", args=[Queue.objects.get(name=QUEUE).pk]))
    check(visitor, f"queue-{width}-{theme}")
    assert page.locator(".chart-canvas canvas").count() == 3
    page.focus(".in-place summary")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("disk full")
    page.keyboard.press("Enter")
    expect(page.locator("[data-live=paused]")).to_contain_text("disk full")
    expect(page.locator("h1")).to_contain_text("paused")


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_everything_is_frozen_in_one_tab_seen_in_another_and_brought_back(visit: Visit, width: int, theme: str):
    worker = make_worker()
    fill(worker)
    visitor = visit("Administrator", width=width, theme=theme)
    page = visitor.page
    other = page.context.new_page()
    other.goto(f"{visitor.address}/admin/tasks_app/schedule/")
    other.wait_for_selector("#live-state[data-state=live]")
    visitor.open("/admin/")
    page.focus("text=Freeze everything…")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Emergency")
    check(visitor, f"emergency-{width}-{theme}")
    page.click("[data-live=stop] >> text=Freeze…")
    page.fill("#id_reason", "water on the floor")
    page.keyboard.press("Enter")
    expect(page.locator("#frozen")).to_contain_text("water on the floor")
    expect(other.locator("#frozen")).to_contain_text("water on the floor")
    assert claim_tasks(worker, limit=1) == []
    other.click("#frozen >> text=Thaw…")
    expect(other.locator("[data-live=now]")).to_contain_text("No task is claimed")
    other.click("[data-live=stop] >> text=Emergency stop…")
    other.check("#id_cancel_pending")
    other.click("text=Show what this does")
    expect(other.locator(".counts")).to_contain_text("7 pending tasks")
    other.fill("#id_reason", "water still rises")
    if (width, theme) == LOOKS[0]:
        visitor.page = other
        check(visitor, f"emergency-stop-{width}-{theme}")
    other.click("input[name=confirmed]")
    expect(other.locator(".messagelist")).to_contain_text("7 pending tasks")
    other.goto(f"{visitor.address}/admin/tasks_app/freeze/emergency-recover/?retry_cancelled=on")
    expect(other.locator(".counts")).to_contain_text("7 cancelled tasks retried")
    other.fill("#id_reason", "dry again")
    other.click("input[name=confirmed]")
    expect(other.locator(".messagelist")).to_contain_text("tasks are claimed again")
    expect(other.locator("#frozen")).to_have_count(0)
    expect(page.locator("#frozen")).to_have_count(0)
    assert len(claim_tasks(worker, limit=1)) == 1
