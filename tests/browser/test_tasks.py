"""The list of tasks, the page of one and the form that spawns one, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tasks_app.models import Task
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]
SIZES = [(1280, "light"), (390, "dark")]


@pytest.fixture(autouse=True)
def diagnostics(live_environment: dict[str, str]) -> None:
    live_environment["ABSURD_DIAGNOSTICS"] = "true"


@pytest.mark.parametrize(("width", "theme"), SIZES)
def test_a_task_is_spawned_by_the_form_and_a_changed_copy_of_it(visit: Visit, width: int, theme: str):
    visitor = visit("Operator", width=width, theme=theme)
    page = visitor.open("/admin/spawn/")
    page.click("text=calibration-solve")
    visitor.look(f"spawn-empty-{width}-{theme}")
    assert visitor.overflow_px() == 0
    page.goto(f"{visitor.address}/admin/spawn/?task_name=sleep")
    page.fill("[name='params.seconds']", "1.5")
    page.fill("[name='params.steps']", "0")
    page.click("[name=look]")
    expect(page.locator(".errorlist")).to_contain_text("greater than or equal to 1")
    page.fill("[name='params.steps']", "2")
    page.select_option("[name=priority]", "16")
    page.click("[name=look]")
    visitor.look(f"spawn-preview-{width}-{theme}")
    assert visitor.overflow_px() == 0
    assert visitor.serious_faults() == []
    page.click("[name=confirmed]")
    expect(page.locator("h1")).to_contain_text("sleep")
    page.click("text=Respawn…")
    page.fill("[name='params.steps']", "3")
    page.fill("[name=reason]", "one is missing")
    page.click("[name=look]")
    expect(page.locator(".changes")).to_contain_text("params.steps")
    visitor.look(f"respawn-preview-{width}-{theme}")
    assert visitor.overflow_px() == 0
    page.click("[name=confirmed]")
    expect(page.locator("h1")).to_contain_text("sleep")
    assert [task.params["steps"] for task in Task.objects.order_by("id")] == [2, 3]
