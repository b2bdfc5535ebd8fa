"""The control room in a real browser, with a night that has troubles."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from pipeline_app.ingest.register import Tile
from pipeline_app.models import Observation, ObservationState
from pipeline_app.workflows import Plan, start
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.lease import report_progress
from tasks_app.models import Worker
from tasks_app.postgresql import clock
from tests.browser.visitor import Visitor
from tests.pipeline_app.test_records import finish_next
from tests.pipeline_app.test_workflows import CATALOG, make_tile
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]


def tile(minute: int) -> Tile:
    return make_tile(f"2026-10-01T06:{minute:02d}:00", mid_mjd=61314.25 + minute / 1440, flux_jy=12.0)


def make_night() -> None:
    """One tile has a warning, one failed, one runs, one lacks subbands; other tasks failed; a worker is lost."""
    worker = make_worker()
    tiles = [tile(minute) for minute in (0, 6, 12)]
    start([Plan.calibrator(tiles[0])], CATALOG, actor="cli:test")
    image = {"kind": "image", "path": "/data/i.fits", "metrics": {"rms_jy": 0.004}, "verdict": "warn"}
    for products in ([], [], [], [image], [], []):
        finish_next(worker, products)
    start([Plan.calibrator(tiles[1])], CATALOG, actor="cli:test")
    finish_next(worker)
    fail_attempt(claim_one(worker), "invalid", "no antenna has 100 valid solutions", REPORT)
    start([Plan.calibrator(tiles[2])], CATALOG, actor="cli:test")
    report_progress(claim_one(worker), fraction=0.4, message="subband 7 of 16")
    Observation.objects.filter(pk=tile(18).observation.pk).update(
        state=ObservationState.INCOMPLETE, reason="subband 3 of 16 is missing", last_file_at=clock.now()
    )
    for number in range(3):
        spawn_note(priority=20)
        fail_attempt(claim_one(worker), "invalid", f"antenna {number} has no data\nTraceback", REPORT)
    lost = make_worker(label="imager-7")
    Worker.objects.filter(pk=lost.pk).update(heartbeat_at=clock.now() - timedelta(minutes=7))


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_the_control_room_and_the_list_of_tasks_show_the_night_fit_and_are_accessible(
    visit: Visit, width: int, theme: str
):
    make_night()
    visitor = visit("Operator", width=width, theme=theme)
    page = visitor.open("/admin/")
    visitor.look(f"control-room-{width}-{theme}")
    text = page.inner_text("[data-live=attention]")
    for part in ("worker imager-7@", "has the verdict warn", "is incomplete: subband 3 of 16 is missing"):
        assert part in text
    assert page.inner_text("[data-live=light]").split()[-1] == "degraded"
    assert page.locator(".grid tbody tr:not(.reason)").count() == 4
    assert page.locator(".grid .cell-warn").count() == 1
    assert page.locator(".grid .cell-failed").count() == 1
    assert page.locator(".grid .cell-claimed").count() == 1
    assert page.locator(".chart-canvas canvas").count() == 2
    assert visitor.overflow_px() == 0
    assert visitor.serious_faults() == []
    page = visitor.open("/admin/tasks_app/task/")
    visitor.look(f"tasks-{width}-{theme}")
    assert visitor.overflow_px() == 0
    assert visitor.serious_faults() == []
    page.click(".state-tabs >> text=failed")
    expect(page.locator("#result_list tbody tr")).to_have_count(8)
