"""What all pages of the console have in common, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.visitor import Visitor
from tests.tasks_app.notes import spawn_note

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_frame_of_every_page_fits_and_is_accessible(visit: Visit, width: int, theme: str):
    spawn_note()
    visitor = visit("Administrator", width=width, theme=theme)
    for path in ("/admin/", "/admin/status/", "/admin/tasks_app/freeze/"):
        page = visitor.open(path)
        assert page.locator("h1").count() == 1, path
        assert page.locator("#console-navigation a").count() > 5
        assert visitor.overflow_px() == 0, path
        assert visitor.serious_faults() == [], path


def test_a_page_says_that_it_is_live_and_ages_are_counted_in_the_browser(visit: Visit):
    visitor = visit()
    page = visitor.open("/admin/status/")
    page.wait_for_selector("#live-state[data-state=live]")
