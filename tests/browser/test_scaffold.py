"""What all pages of the console have in common, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.visitor import Visitor
from tests.tasks_app.notes import spawn_note

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_frame_of_every_page_fits_and_is_accessible(visit: Visit, width: int, theme: str):
    spawn_note()
    visitor = visit("Administrator", width=width, theme=theme)
    for path in ("/admin/", "/admin/status/", "/admin/tasks_app/freeze/", "/admin/health/", "/admin/help/operating/"):
        page = visitor.open(path)
        assert page.locator("h1").count() == 1, path
        assert page.locator("#console-navigation a").count() > 5
        assert visitor.overflow_px() == 0, path
        assert visitor.serious_faults() == [], path


def test_the_first_key_leads_past_the_header_and_the_current_page_is_in_view(visit: Visit):
    visitor = visit("Viewer", width=390)
    page = visitor.open("/admin/help/")
    expect(page.locator("#console-navigation [aria-current]")).to_be_in_viewport()
    page.keyboard.press("Tab")
    expect(page.locator(".skip-to-content-link")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#content-start")).to_be_focused()


def test_a_page_is_live_as_long_as_it_hears_something_and_counts_ages_itself(visit: Visit):
    visitor = visit()
    visitor.page.clock.install()
    page = visitor.open("/admin/status/")
    page.wait_for_selector("#live-state[data-state=live]")
    # A server that accepts, greets, and then says nothing, as a frozen one does.
    page.route_web_socket("**/ws/status*", lambda socket: socket.send('{"type": "hello", "event_id": 1}'))
    page.reload()
    page.wait_for_selector("#live-state[data-state=live]")
    page.clock.run_for(13_000)
    expect(page.locator("#live-state[data-state=silent]")).to_contain_text("no news for 1")
    page = visitor.open("/admin/")
    age = page.locator("[data-live=attention] time[data-age]").first
    before = age.inner_text()
    page.clock.run_for(5_000)
    expect(age).not_to_have_text(before)
