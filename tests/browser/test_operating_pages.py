"""Nights, queues, schedules and the emergency page in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from tests.browser.test_control_room import make_night
from tests.browser.visitor import Visitor
from tests.pipeline_app.test_nights import NIGHT, observe

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
