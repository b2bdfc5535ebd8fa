"""The page of nights: calendar, ruler, stages, gaps and transits."""

from __future__ import annotations

import json
import re

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from pipeline_app.admin.gaps import gaps_of
from pipeline_app.admin.night_calendar import date_of, month_of, start_of
from pipeline_app.admin.transits import transits_of
from pipeline_app.models import Observation, SubbandFile
from pipeline_app.sky_text import mjd_of
from pipeline_app.telescope import local_sidereal_deg
from pipeline_app.workflows import Plan, start
from tasks_app.engine.fail import fail_attempt
from tasks_app.postgresql import clock
from tests.pipeline_app.test_console import QUERIES_MOST
from tests.pipeline_app.test_records import finish_next
from tests.pipeline_app.test_workflows import CATALOG, make_tile
from tests.tasks_app.callers import console_client, queries_of_health
from tests.tasks_app.notes import REPORT, claim_one, make_worker

pytestmark = pytest.mark.django_db
MJD = 61314.25
TILE_DAYS = 309.2 / 86_400
NIGHT = "2026-10-01"


@pytest.fixture(autouse=True)
def nothing_is_kept() -> None:
    cache.clear()


def observe(number: int, *, lacks: tuple[int, ...] = (), declination_deg: float = 16.1) -> Observation:
    """Make the tile of a slot of a night, which may lack subbands."""
    mjd = MJD + number * TILE_DAYS
    observation = make_tile(f"slot-{number}", mid_mjd=mjd, declination_deg=declination_deg).observation
    Observation.objects.filter(pk=observation.pk).update(start_mjd=mjd - TILE_DAYS / 2)
    observation.refresh_from_db()
    observation.files.all().delete()
    SubbandFile.objects.bulk_create(
        SubbandFile(observation=observation, path=f"/raw/{number}/{k}", subband=k, freq_min_hz=k, size_bytes=1,
                    mtime_ns=1, state="accepted")
        for k in range(16) if k not in lacks
    )  # fmt: skip
    return observation


def visit(client: Client, query: str = f"?night={NIGHT}") -> str:
    answer = client.get(reverse("admin:page_nights") + query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_gaps_are_named_with_their_start_and_length():
    observations = [observe(0), observe(1, lacks=(3,)), observe(2, lacks=(3,)), observe(5, lacks=(0, 7))]
    begin_mjd = observations[0].start_mjd
    found = gaps_of(observations, begin_mjd - 10 * TILE_DAYS, begin_mjd + 6.2 * TILE_DAYS)
    slots = [(round((gap.start_mjd - begin_mjd) / TILE_DAYS), gap.missing, gap.n_tiles) for gap in found]
    assert slots == [(-10, "no tile", 10), (1, "subband 3", 2), (3, "no tile", 2), (5, "subbands 0, 7", 1)]
    assert [round(gap.length_sec / 309.2) for gap in found] == [10, 2, 2, 1]
    assert found[1].observation == observations[1] and found[2].observation is None


def test_a_transit_is_when_the_calibrator_is_on_the_meridian_and_names_who_saw_it():
    (transit,) = [each for each in transits_of([], [33.2], 61314.0) if each.calibrator.name == "3C48"]
    assert transit.observation is None
    ra_offset_deg = (local_sidereal_deg(transit.mjd) - transit.ra_deg + 180) % 360 - 180
    assert ra_offset_deg == pytest.approx(0, abs=1e-4)
    assert transit.offset_deg == pytest.approx(0.1, abs=0.05)
    assert transit.half_width_sec == pytest.approx(1.355 / 0.8365 * 240 / 1.00274, rel=0.02)
    tile = make_tile("seen", mid_mjd=transit.mjd + 0.002, declination_deg=33.2).observation
    other_strip = make_tile("other", mid_mjd=transit.mjd, declination_deg=16.1).observation
    (again,) = [each for each in transits_of([other_strip, tile], [33.2], 61314.0) if each.calibrator.name == "3C48"]
    assert again.observation == tile


def test_the_calendar_counts_observations_and_has_the_worst_of_each_night():
    worker = make_worker()
    image = {"kind": "image", "path": "/data/i.fits", "metrics": {}, "verdict": "warn"}
    for day in range(2):
        start([Plan.calibrator(make_tile(f"day-{day}", mid_mjd=MJD + day, flux_jy=12.0))], CATALOG, actor="cli:test")
    for products in ([], [], [], [image], [], []):
        finish_next(worker, products)
    fail_attempt(claim_one(worker), "invalid", "broken", REPORT)
    make_tile("day-2", mid_mjd=MJD + 2)
    make_tile("day-2-second", mid_mjd=MJD + 2.01)
    days = {day.date.isoformat(): day for week in month_of(date_of(MJD)).weeks for day in week}
    found = {name: (day.observations, day.state) for name, day in days.items() if day.observations}
    assert found == {"2026-10-01": (1, "warn"), "2026-10-02": (1, "failed"), "2026-10-03": (2, "no-verdict")}
    assert start_of(date_of(MJD)) == 61314.0


def test_the_page_of_a_night_has_its_strips_stages_gaps_and_transits_with_few_queries():
    worker, viewer = make_worker(), console_client()
    (run,) = start([Plan.calibrator(make_tile("bright", mid_mjd=MJD, flux_jy=12.0))], CATALOG, actor="cli:test")
    finish_next(worker, [])
    for number in (2, 3, 6):
        observe(number, lacks=(5,) if number == 3 else ())
    visit(viewer)
    of_health = queries_of_health()
    with CaptureQueriesContext(connection) as queries:
        text = visit(viewer)
    asked = [each["sql"] for each in queries if not each["sql"].startswith(("SAVEPOINT", "RELEASE"))]
    assert len(asked) <= QUERIES_MOST + of_health, "\n".join(asked)
    assert text.count("<h1") == 1 and f"Night of {NIGHT}" in text
    assert reverse("admin:tasks_app_run_change", args=[run.pk]) in text
    assert "cell-completed" in text and "subband 5" in text and "no tile" in text
    script = re.search(r'<script[^>]*type="application/json">(.*?)</script>', text)
    assert script is not None
    chart = json.loads(script[1])
    assert chart["lanes"] == ["+16.1°", "calibrators", "gaps"]
    assert chart["above"]["low"] == pytest.approx(local_sidereal_deg(MJD - 0.0018 - 0.5 / 24) / 15, abs=1e-3)
    hours = (6 * TILE_DAYS + TILE_DAYS + 1 / 24) * 24
    assert chart["above"]["high"] - chart["above"]["low"] == pytest.approx(hours * 1.0027379, abs=0.01)
    assert sum(each["lane"] == 0 for each in chart["intervals"]) == 4


def test_the_last_night_comes_first_with_ways_to_the_nights_beside_it():
    viewer = console_client()
    for day in (-3, 0, 1):
        make_tile(f"day{day}", mid_mjd=MJD + day)
    assert "Night of 2026-10-02" in visit(viewer, "")
    text = visit(viewer)
    assert 'rel="prev" href="?night=2026-09-28"' in text and 'rel="next" href="?night=2026-10-02"' in text
    assert "absurd_simulate_nights" in visit(viewer, "?night=2026-09-30")


@pytest.mark.parametrize("query", ["?night=yesterday", "?night=0001-01-01", "?month=2026-13-01"])
def test_what_is_no_night_is_refused_and_the_page_still_comes(query: str):
    make_tile("one")
    answer = console_client().get(reverse("admin:page_nights") + query)
    assert answer.status_code == 400
    text = answer.content.decode()
    assert "errorlist" in text and f"Night of {NIGHT}" in text


def test_without_the_permission_there_is_no_page_and_without_observations_it_says_what_to_do():
    assert Client().get(reverse("admin:page_nights")).status_code == 302
    assert "absurd_simulate_nights" in visit(console_client(), "")


def test_only_a_night_that_may_still_change_asks_to_be_refreshed():
    make_tile("then", mid_mjd=MJD)
    make_tile("now", mid_mjd=mjd_of(clock.now()))
    viewer = console_client()
    assert 'data-live="observations"' in visit(viewer, "")
    over = visit(viewer)
    assert 'data-live="observations"' not in over and "This night is over" in over


def test_a_tile_and_the_control_room_lead_to_nights():
    tile, viewer = make_tile("one", mid_mjd=MJD).observation, console_client()
    address = reverse("admin:page_nights")
    shown = viewer.get(reverse("admin:pipeline_app_observation_change", args=[tile.pk])).content.decode()
    assert f'href="{address}?night={NIGHT}"' in shown
    assert viewer.get("/admin/").content.decode().count(f'href="{address}"') == 3
