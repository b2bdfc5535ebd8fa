"""The list of tasks, the page of one and the form that spawns one, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.lease import report_progress, start_attempt
from tasks_app.models import Attempt, Task
from tasks_app.monitoring.usage import Series, Used, store
from tasks_app.postgresql import clock
from tests.browser.visitor import Visitor
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note
from tests.tasks_app.test_claim_cost import fill

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


@pytest.mark.parametrize(("width", "theme"), [*SIZES, (1280, "dark"), (390, "light")])
def test_the_list_fits_and_all_that_match_are_cancelled_with_their_progress(visit: Visit, width: int, theme: str):
    worker = make_worker()
    for number in range(3):
        spawn_note(priority=20, max_retries=0)
        error = f"SEVERE calibration-solve: no solutions for antenna {number} in 2026-10-01T06:12:33.ms"
        fail_attempt(claim_one(worker), "invalid", error, REPORT)
    fill(n=1500)
    visitor = visit("Operator", width=width, theme=theme)
    page = visitor.open("/admin/tasks_app/task/?q=solutions")
    visitor.look(f"tasks-{width}-{theme}")
    assert page.locator("#result_list tbody tr").count() == 3
    assert visitor.overflow_px() == 0
    if width == 1280:  # all columns are seen without scrolling
        assert page.evaluate(
            "document.querySelector('.results').scrollWidth <= document.querySelector('.results').clientWidth"
        )
    else:  # a row is a card, with its operation in sight
        retry = page.locator("#result_list tbody tr >> text=Retry…").first.bounding_box()
        assert retry["x"] + retry["width"] <= width
    assert page.locator(".filter-bar").bounding_box()["y"] < page.locator("#result_list").bounding_box()["y"]
    page = visitor.open("/admin/tasks_app/task/?status=pending")
    visitor.look(f"tasks-pending-{width}-{theme}")
    page.click(".matching >> text=Cancel…")
    page.fill("[name=reason]", "wrong field")
    page.fill("[name=typed]", "1500")
    visitor.look(f"matching-{width}-{theme}")
    assert visitor.overflow_px() == 0
    assert visitor.serious_faults() == []
    page.click("[name=confirmed]")
    expect(page.locator(".messagelist")).to_contain_text("1,500 cancelled", timeout=120_000)
    assert Task.objects.filter(status="cancelled").count() == 1500


@pytest.mark.parametrize(("width", "theme"), SIZES)
def test_the_page_of_a_running_task_shows_progress_use_and_a_log_that_is_followed(
    visit: Visit, width: int, theme: str, live_environment: dict[str, str]
):
    worker, log = make_worker(), Path(live_environment["ABSURD_VAR"]) / "log" / "attempts" / "1.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    spawn_note(max_retries=3)
    fail_attempt(claim_one(worker), "lost", "its worker is gone", REPORT)
    Task.objects.update(hold=0)
    claim = claim_one(worker)
    start_attempt(claim, directory=str(log.parent), log_path=str(log))
    log.write_text("".join(f"line {number}\n" for number in range(200)))
    for fraction in (0.2, 0.4):
        report_progress(claim, fraction=fraction, message=f"major cycle {fraction}")
    Attempt.objects.filter(claim_token=claim.claim_token).update(started_at=clock.now() - timedelta(seconds=900))
    series = Series()
    for second in range(900):
        series.add(second, 1_000_000_000 + 2_000_000 * second, 1.5 * second)
    store(
        [
            Used(
                claim_token=claim.claim_token,
                peak_rss_bytes=1,
                cpu_sec=1.0,
                read_bytes=1,
                write_bytes=1,
                series=series.flat(),
            )
        ]
    )
    task = Task.objects.get()
    visitor = visit("Operator", width=width, theme=theme)
    page = visitor.open(f"/admin/tasks_app/task/{task.task_id}/change/")
    expect(page.locator("pre.log").first).to_contain_text("line 199")
    visitor.look(f"task-{width}-{theme}")
    assert page.locator(".chart-canvas canvas").count() == 3
    expect(page.locator("[data-live=facts]")).to_contain_text("2: 1")
    expect(page.locator("[data-live=facts]")).to_contain_text("40 %")
    assert visitor.overflow_px() == 0
    assert visitor.serious_faults() == []
    output = "document.querySelector('.log-viewer pre.log')"
    assert page.evaluate(f"{output}.scrollTop > 0")
    page.uncheck("[name=follow]")
    page.evaluate(f"{output}.scrollTop = 0")
    page.fill(".log-tools [type=search]", "line 1")
    assert page.evaluate(f"{output}.scrollTop") == 0
    page.check("[name=follow]")
    expect(page.locator(".log-note")).to_contain_text("of 200 lines")
