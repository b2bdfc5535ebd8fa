"""Every screen of the catalogue: it fits a narrow window, is accessible in both themes, and asks no other host."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db.models import F, Value
from django.db.models.functions import Concat
from playwright.sync_api import Browser

from pipeline_app.models import Calibration, Observation, SubbandFile
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Attempt, Task
from tasks_app.operations import schedules
from tasks_app.operations.queues import pause, set_limit
from tasks_app.postgresql import clock
from tests.browser.conftest import PASSWORD
from tests.browser.screens import REFUSALS, SCREENS
from tests.browser.screenshots import settle
from tests.browser.test_control_room import make_night
from tests.browser.visitor import Visitor
from tests.pipeline_app.console_rows import make_calibration, make_nights
from tests.pipeline_app.test_workflows import make_tile
from tests.tasks_app.callers import make_key, make_user
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.chaos, pytest.mark.timeout(1800)]
OF_OTHERS = {"api-docs": "swagger-ui", "api-redoc": "redoc"}
"""Screens that a package draws, which is not ours to change: axe-core looks at nothing of them."""

OF_DJANGO = "search-label-icon"
"""What axe-core finds in Django's own choice of groups and permissions."""


def make_everything(root: Path) -> None:
    """Make a row of each kind that the screens show."""
    worker = make_worker()
    spawn_note(queue_name="reports")
    complete_task(claim_one(make_worker(queues=["reports"])), {}, REPORT)
    Attempt.objects.update(log_tail="written")
    call_command("absurd_prune", "--older-than-days", "0", "--queue", "reports", "--json", stdout=StringIO())
    make_night()
    # The other nights have tiles of the same times.
    Observation.objects.update(first_time_ms=F("first_time_ms") - 1000)
    SubbandFile.objects.update(path=Concat(Value("/earlier"), "path"))
    make_nights(root)
    bad = make_tile("2026-10-03T06:00:00", mid_mjd=61316.25).observation
    refused = root / "refused"
    refused.mkdir()
    Calibration.objects.filter(pk=make_calibration(refused, bad).pk).update(verdict="fail", reasons=["no data"])
    quarantined = spawn_note(max_retries=0, priority=20)
    fail_attempt(claim_one(worker), "killed", "segmentation fault", REPORT)
    Task.objects.filter(pk=quarantined.pk).update(quarantined_at=clock.now())
    Attempt.objects.update(log_tail="SEVERE: no such file\n" * 30)
    spawn_note(), spawn_note()
    set_limit("key", "calibrator", actor="user:alice", size=4, reason="memory")
    wanted = {"cron": "0 3 * * *", "task_name": "note", "params": {"text": "a"}}
    schedules.save("nightly", **wanted, actor="user:alice")
    pause("dsa110-pipeline", actor="user:olga", reason="disk full, and a long reason that takes several lines")
    make_key("read")


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")])
def test_every_screen_fits_is_accessible_and_asks_no_other_host(
    browser: Browser, address: str, live_environment: dict[str, str], width: int, theme: str
):
    make_everything(Path(live_environment["ABSURD_DATA_ROOTS"]) / "nights")
    make_user("alice", "Operator", "Administrator")
    places = {name: screen.address for name, screen in SCREENS.items()} | REFUSALS
    wrong = []
    with (
        Visitor.of(browser, address, width=width, theme=theme) as visitor,
        Visitor.of(browser, address, width=width, theme=theme) as stranger,
    ):
        visitor.log_in("alice", PASSWORD)
        for name, place in places.items():
            who = stranger if name in SCREENS and SCREENS[name].anonymous else visitor
            answer = who.page.goto(address + place)
            assert answer is not None
            is_refusal = name in REFUSALS
            assert (answer.status >= 400) is is_refusal, (name, answer.status)
            settle(who.page)
            faults = [] if name in OF_OTHERS else [each for each in who.serious_faults() if OF_DJANGO not in each]
            if name not in OF_OTHERS and (n := who.page.locator("h1").count()) != 1:
                faults.append(f"{n} titles")
            # The browser's own line about an answer of 403 or 404 is none of the page's.
            said = [] if is_refusal else list(who.complaints)
            who.complaints.clear()
            if found := [*([f"{who.overflow_px()} px too wide"] if who.overflow_px() else []), *faults, *said]:
                wrong.append((name, *found))
        assert not wrong, "\n".join(map(str, wrong))
        for each in (visitor, stranger):
            each.check()
