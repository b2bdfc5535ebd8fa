"""The page of a run in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from pipeline_app.workflows import Plan, start
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Run, Worker
from tests.browser.test_control_room import tile
from tests.browser.visitor import Visitor
from tests.pipeline_app.test_records import finish_next
from tests.pipeline_app.test_workflows import CATALOG
from tests.tasks_app.notes import REPORT, claim_one, make_worker
from tests.tasks_app.workflows.run_plans import begin, claim_all, diamond, finish

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]
CALIBRATION = {"n_antennas": 63, "n_antennas_solved": 61, "snr_median": 118.4, "calibrator": "3C48"}


def open_run(visit: Visit, run: Run, **options: object) -> Visitor:
    visitor = visit("Operator", **options)
    visitor.open(f"/admin/tasks_app/run/{run.pk}/change/")
    return visitor


def started_tile(worker: Worker) -> Run:
    """Return the run of a tile whose imaging has failed."""
    (run,) = start([Plan.calibrator(tile(0))], CATALOG, actor="cli:test")
    solved = {"kind": "calibration", "path": "/data/t.cal", "metrics": CALIBRATION, "verdict": "warn"}
    for products in ([], [solved], []):
        finish_next(worker, products)
    fail_attempt(claim_one(worker), "invalid", "every visibility is flagged", REPORT)
    return run


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_the_page_shows_stages_verdicts_and_lanes_fits_and_is_accessible(visit: Visit, width: int, theme: str):
    visitor = open_run(visit, started_tile(make_worker()), width=width, theme=theme)
    page = visitor.page
    visitor.look(f"run-{width}-{theme}")
    assert page.locator(".layer").count() == 6
    solve = page.locator("[aria-label=calibration-solve]")
    for part in ("warn", "61 of 63", "118", "calibration"):
        expect(solve).to_contain_text(part)
    expect(page.locator("[aria-label=imaging]")).to_contain_text("every visibility is flagged")
    assert page.locator(".chart-canvas canvas").count() == 1
    assert visitor.overflow_px() == 0
    assert visitor.serious_faults() == []
    visitor.click("[aria-label=calibration-solve] >> text=Retry from here…")
    expect(page.locator(".counts")).to_contain_text("respawned")


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_a_stage_that_ends_is_shown_without_a_reload(visit: Visit, width: int, theme: str):
    worker = make_worker()
    run = begin(diamond())
    finish(claim_all(worker)["top"])
    claims = claim_all(worker)
    visitor = open_run(visit, run, width=width, theme=theme)
    page = visitor.page
    page.wait_for_selector("#live-state[data-state=live]")
    left = page.locator("[aria-label=left]")
    expect(left).to_contain_text("claimed")
    page.evaluate("window.notReloaded = true")
    finish(claims["left"])
    expect(left).to_contain_text("completed", timeout=60_000)
    visitor.look(f"run-diamond-{width}-{theme}")
    assert page.evaluate("window.notReloaded") is True
    assert visitor.overflow_px() == 0
