"""The search in the header, the activity and the help in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tasks_app.operations.queues import pause, resume
from tests.browser.visitor import Visitor
from tests.pipeline_app.console_rows import make_nights
from tests.tasks_app.notes import make_worker, spawn_note

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]
VIEWS = [(1280, "light"), (390, "dark")]


@pytest.mark.parametrize(("width", "theme"), VIEWS)
def test_the_key_slash_a_paste_and_enter_lead_to_a_page_or_a_list(
    visit: Visit, live_environment: dict[str, str], width: int, theme: str
):
    make_nights(Path(live_environment["ABSURD_DATA_ROOTS"]) / "nights")
    make_worker(label="S-worker")
    task = spawn_note()
    visitor = visit("Viewer", width=width, theme=theme)
    page = visitor.open("/admin/")
    page.keyboard.press("/")
    page.keyboard.type(str(task.task_id)[-8:])
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("note")
    assert str(task.task_id) in page.url
    page.wait_for_load_state("load")  # by then the key is listened for
    visitor.look(f"header-{width}-{theme}")
    page.keyboard.press("?")
    expect(page.locator("#console-keys")).to_contain_text("goes to the search")
    assert visitor.serious_faults() == []
    page.keyboard.press("Escape")
    expect(page.locator("#console-keys")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#console-search-text")).to_be_focused()
    page.keyboard.type("S")
    page.keyboard.press("Enter")
    expect(page.locator(".hits a")).to_have_count(4)  # three sources and a worker
    visitor.look(f"search-{width}-{theme}")
    assert (visitor.overflow_px(), visitor.serious_faults()) == (0, [])


@pytest.mark.parametrize(("width", "theme"), VIEWS)
def test_the_activity_is_filtered_and_downloaded(visit: Visit, width: int, theme: str):
    spawn_note()
    pause("dsa110-pipeline", actor="user:olga", reason="<i>disk</i> full \u202e")
    resume("dsa110-pipeline", actor="user:ivan", reason="there is room again")
    visitor = visit("Viewer", width=width, theme=theme)
    page = visitor.open("/admin/tasks_app/taskevent/")
    expect(page.locator("#result_list tbody tr")).to_have_count(2)
    visitor.look(f"activity-{width}-{theme}")
    assert (visitor.overflow_px(), visitor.serious_faults()) == (0, [])
    page.select_option("select[name=event_type]", "paused")
    page.click(".filter-bar button")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    with page.expect_download() as download:
        page.click("text=Download as CSV")
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert "user:olga" in lines[1] and "<i>disk</i> full \\u202e" in lines[1]


@pytest.mark.parametrize(("width", "theme"), VIEWS)
def test_the_help_fits_and_opens_a_task_name(visit: Visit, width: int, theme: str):
    visitor = visit("Viewer", width=width, theme=theme)
    page = visitor.open("/admin/")
    visitor.click("#console-navigation >> text=Help")
    page.click("#task-imaging summary")
    expect(page.locator("#task-imaging table")).to_contain_text("cell_arcsec")
    visitor.look(f"help-{width}-{theme}")
    assert (visitor.overflow_px(), visitor.serious_faults()) == (0, [])
