"""The pages of observations, images, calibrations, sources and storage."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from pipeline_app.admin import storage
from pipeline_app.models import Calibration, Product
from pipeline_app.workflows import Plan, start
from tasks_app.engine.fail import fail_attempt
from tasks_app.models import Task, TaskEvent
from tests.pipeline_app.console_rows import DEC_DEG, IMAGE_METRICS, PNG, RA_DEG, addresses
from tests.pipeline_app.test_records import finish_next
from tests.pipeline_app.test_workflows import CATALOG, make_tile
from tests.tasks_app.callers import console_client, make_user, queries_of_health
from tests.tasks_app.notes import REPORT, claim_one, make_worker

pytestmark = pytest.mark.django_db
QUERIES_MOST = 15


PAGES = (
    "observations", "tile", "images", "image", "viewer", "calibrations", "calibration", "sources", "source", "storage",
    "products", "product", "fluxes",
)  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_a_viewer_sees_every_page_with_few_queries_and_nothing_to_save(nights, viewer, page):
    address = addresses(nights[1])[page]
    of_health = queries_of_health()
    with CaptureQueriesContext(connection) as queries:
        response = viewer.get(address)
    text = response.content.decode()
    assert response.status_code == 200
    assert len(queries) - of_health <= QUERIES_MOST, [each["sql"][:120] for each in queries]
    assert 'name="_save"' not in text and "/refuse/" not in text
    assert text.count("<h1") == 1 and ("Control room" in text)


def test_the_page_of_a_run_shows_verdicts_figures_and_products_with_few_queries(viewer):
    worker = make_worker()
    (run,) = start([Plan.calibrator(make_tile("bright", flux_jy=12.0))], CATALOG, actor="cli:test")
    image = {"kind": "image", "path": "/data/i.fits", "metrics": IMAGE_METRICS, "verdict": "warn"}
    for products in ([], [], [], [image]):
        finish_next(worker, products)
    address = reverse("admin:tasks_app_run_change", args=[run.pk])
    viewer.get(address)
    of_health = queries_of_health()
    with CaptureQueriesContext(connection) as queries:
        text = viewer.get(address).content.decode()
    asked = [each["sql"] for each in queries if not each["sql"].startswith(("SAVEPOINT", "RELEASE"))]
    assert len(asked) <= QUERIES_MOST + of_health, asked
    product = Product.objects.get()
    for part in (
        "1.000 mJy/beam, 1.25 times the thermal noise",
        "pill-warn",
        reverse("admin:pipeline_app_product_change", args=[product.pk]),
        reverse("admin:pipeline_app_observation_change", args=[product.observation_id]),
    ):
        assert part in text
    assert "/retry/" not in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("page_images", "absurd_simulate_nights"),
        ("page_sources", "absurd_simulate_nights"),
        ("pipeline_app_calibration_changelist", "absurd_simulate_nights"),
        ("page_storage", "ABSURD_DATA_ROOTS"),
    ],
)
def test_a_page_without_rows_says_what_to_do(viewer, settings, name, words, tmp_path):
    cache.clear()
    settings.ABSURD_DATA_ROOTS = [tmp_path / "nowhere"]
    assert words in viewer.get(reverse(f"admin:{name}")).content.decode()


def test_nobody_without_the_permission_sees_a_page(nights):
    client = Client()
    client.force_login(make_user("nemo"))
    for page, address in addresses(nights[0]).items():
        assert client.get(address).status_code == 403, page


def test_the_page_of_a_product_shows_the_picture_that_its_task_made_and_leads_to_the_page_of_what_it_is(nights, viewer):
    night = nights[0]
    preview = Product.objects.get(kind="preview", task_id=night.image.task_id)
    text = viewer.get(addresses(night)["product"]).content.decode()
    assert f'src="{reverse("admin:pipeline_app_product_file", args=[preview.pk])}"' in text
    solved = Product.objects.get(kind="calibration", path=night.calibration.path)
    place = Path(solved.path) / "solutions.png"
    place.write_bytes(PNG)
    plot = Product.objects.create(
        task_id=solved.task_id, attempt=1, task_name=solved.task_name, kind="plot", path=str(place)
    )
    text = viewer.get(reverse("admin:pipeline_app_product_change", args=[solved.pk])).content.decode()
    assert f'src="{reverse("admin:pipeline_app_product_file", args=[plot.pk])}"' in text
    assert addresses(night)["calibration"] in text
    without = Product.objects.get(kind="photometry", observation=night.observation)
    text = viewer.get(reverse("admin:pipeline_app_product_change", args=[without.pk])).content.decode()
    assert "<img" not in text


def test_the_page_of_a_tile_has_its_stages_files_figures_and_fluxes(nights, viewer):
    text = viewer.get(addresses(nights[1])["tile"]).content.decode()
    for part in ("imaging", "12.5 %", "1.000 mJy/beam, 1.25 times the thermal noise", "S01", "subband-missing", "3C48"):
        assert part in text, part
    assert text.count("subband-accepted") == 0  # its files have no subband number
    assert f'rel="prev" href="{addresses(nights[0])["tile"]}"' in text


def test_an_observation_shows_what_has_become_of_its_run(viewer):
    worker = make_worker()
    tile = make_tile("bright", flux_jy=12.0)
    start([Plan.calibrator(tile)], CATALOG, actor="cli:test")
    pages = (
        reverse("admin:pipeline_app_observation_changelist"),
        reverse("admin:pipeline_app_observation_change", args=[tile.observation.pk]),
    )

    def shown() -> set[str]:
        texts = [viewer.get(page).content.decode() for page in pages]
        return {re.findall(r"pill pill-(\w+)", re.split(r'<h1 data-live|field-stands"', text)[1])[0] for text in texts}

    assert shown() == {"running"}
    for _ in range(Task.objects.count() - 1):
        finish_next(worker)
    assert shown() == {"running"}
    finish_next(worker)
    assert shown() == {"completed"}
    start([Plan.calibrator(make_tile("bright-2", flux_jy=12.0, mid_mjd=61316.25))], CATALOG, actor="cli:test")
    fail_attempt(claim_one(worker), "invalid", "no such file", REPORT)
    assert "pill-failed" in viewer.get(pages[0]).content.decode()


def test_the_strip_of_a_tile_leads_from_raw_files_to_fluxes(nights, viewer):
    text = viewer.get(addresses(nights[1])["tile"]).content.decode()
    strip = text[text.index('<ol class="provenance"') : text.index("</ol>", text.index('<ol class="provenance"'))]
    made = {product.kind: product.pk for product in nights[1].observation.products.all()}
    places = [
        strip.index(part)
        for part in (
            'href="#subbands"',
            "0 of 16 subbands",
            f'{reverse("admin:pipeline_app_product_change", args=[made["calibrated-ms"]])}">calibrated data',
            f'{addresses(nights[1])["image"]}">image',
            f'{reverse("admin:pipeline_app_product_change", args=[made["photometry"]])}">fluxes',
        )
    ]
    assert places == sorted(places)


def test_the_gallery_is_narrowed_by_strip_night_and_verdict(nights, viewer):
    def shown(query: str) -> set[int]:
        return {card.image.pk for card in viewer.get(f"{reverse('admin:page_images')}?{query}").context["cards"]}

    old, new = (night.image.pk for night in nights)
    assert shown("") == {old, new}
    assert shown("verdict=warn") == {new}
    assert shown("strip=16.1") == {old, new}
    nights_shown = [shown(f"night=2026-10-0{day}") for day in (1, 2, 3)]
    assert nights_shown == [{old}, {new}, set()]
    assert shown(f"before={new}") == {old}


@pytest.mark.parametrize(
    "query", ["verdict=good", "night=tomorrow", "night=9999-12-31", "night=0001-01-01", "strip=77.7", "before=x"]
)
def test_a_filter_that_does_not_exist_is_refused(nights, viewer, query):
    response = viewer.get(f"{reverse('admin:page_images')}?{query}")
    assert response.status_code == 400
    assert response.context["cards"] == []
    assert "errorlist" in response.content.decode() or "before" in query


def test_an_image_without_files_still_has_a_page(nights, viewer):
    Product.objects.exclude(kind="image").delete()
    Path(nights[0].image.path).unlink()
    response = viewer.get(addresses(nights[0])["image"])
    assert "no preview was made" in response.content.decode()
    stamp = reverse("admin:pipeline_app_product_stamp", args=[nights[0].image.pk])
    assert viewer.get(f"{stamp}?ra=10&dec=16.1&arcmin=4&low=0&high=1").status_code == 404


def test_a_stamp_shows_the_source_in_its_middle_and_refuses_bad_places(nights, viewer):
    from pipeline_app.fits_stamp import PNG_MAGIC

    stamp = reverse("admin:pipeline_app_product_stamp", args=[nights[0].image.pk])
    answer = viewer.get(f"{stamp}?ra={RA_DEG}&dec={DEC_DEG}&arcmin=4&low=-0.003&high=0.3")
    assert (answer.status_code, answer["Content-Type"], answer.content[:8]) == (200, "image/png", PNG_MAGIC)
    assert viewer.get(f"{stamp}?ra=200&dec=-40&arcmin=4&low=0&high=1").status_code == 404
    for bad in ("", "ra=x&dec=1&arcmin=4", "ra=10&dec=16&arcmin=900", "ra=nan&dec=16&arcmin=4"):
        assert viewer.get(f"{stamp}?{bad}&low=0&high=1").status_code == 400, bad
    other = reverse("admin:pipeline_app_product_stamp", args=[Product.objects.filter(kind="preview").first().pk])
    assert viewer.get(f"{other}?ra=10&dec=16.1&arcmin=4&low=0&high=1").status_code == 404


def test_a_calibration_marks_antennas_without_data_and_compares_two(nights, viewer):
    page = addresses(nights[1])["calibration"]
    panels = viewer.get(page).context["panels"]
    assert [(panel.name, panel.mark) for panel in panels] == [("9", "no data"), ("7", ""), ("5", "reference")]
    assert panels[1].delays == "+3.2 / -4.5 ns"
    delays = viewer.get(page).context["delays"]
    assert [list(series.points) for series in delays.series] == [[(0, 0.0), (1, 3.25)], [(0, 0.0), (1, -4.5)]]
    against = viewer.get(f"{page}?with={nights[0].calibration.pk}")
    assert {value for series in against.context["delays"].series for _, value in series.points} == {0.0}
    compared = against.context["panels"]
    assert compared[1].change == "× 1.000, 0.0°"
    assert sum(trace.is_other for trace in compared[1].traces) == 2
    assert f">{nights[1].observation}</a>" in viewer.get(page).content.decode()


def test_solutions_that_are_gone_leave_the_page_with_the_reason(nights, viewer, settings, tmp_path):
    settings.ABSURD_DATA_ROOTS = [tmp_path / "elsewhere"]
    text = viewer.get(addresses(nights[1])["calibration"]).content.decode()
    assert "is not on this host below ABSURD_DATA_ROOTS" in text and "3C48" in text


def test_an_operator_refuses_a_calibration_with_a_reason_and_it_is_recorded(nights):
    calibration = nights[1].calibration
    address = reverse("admin:pipeline_app_calibration_refuse", args=[calibration.pk])
    assert console_client("Viewer").post(address, {"confirmed": "yes", "reason": "no"}).status_code == 403
    operator = console_client("Operator")
    operator.post(address, {"confirmed": "yes", "reason": ""})
    calibration.refresh_from_db()
    assert calibration.verdict == "pass"
    operator.post(address, {"confirmed": "yes", "reason": "snow on the dishes"})
    calibration.refresh_from_db()
    assert (calibration.verdict, calibration.reasons) == ("fail", ["refused by user:operator: snow on the dishes"])
    event = TaskEvent.objects.get(event_type="calibration_refused")
    assert (event.actor, event.reason) == ("user:operator", "snow on the dishes")
    assert event.detail["calibration_id"] == calibration.pk
    again = operator.post(address, {"confirmed": "yes", "reason": "again"}, follow=True)
    assert "its verdict is fail already" in again.content.decode()
    assert TaskEvent.objects.filter(event_type="calibration_refused").count() == 1


def test_a_refused_calibration_is_given_to_no_target(nights):
    from pipeline_app.calibration_choice import plan_single
    from pipeline_app.operations import refuse_calibration
    from tests.pipeline_app.test_workflows import make_tile

    tile = make_tile("new", mid_mjd=nights[1].observation.mid_mjd + 0.01)
    assert plan_single(tile).calibration_path == nights[1].calibration.path
    refuse_calibration(nights[1].calibration.pk, actor="user:ann", reason="bad")
    assert plan_single(tile) is None or plan_single(tile).calibration_path != nights[1].calibration.path


def test_the_timeline_has_a_lane_a_strip_and_a_bar_a_calibration(nights, viewer):
    other = Calibration.objects.create(
        task_id=uuid4(), path="/data/other", mid_mjd=61314.0, declination_deg=54.6, verdict="fail"
    )
    timeline = viewer.get(addresses(nights[0])["calibrations"]).context["timeline"].value
    assert set(timeline.lanes) == {"+16.1°", "+16.1° used by", "+54.6°"}
    by_lane = Counter(timeline.lanes[each.lane] for each in timeline.intervals)
    assert by_lane == {"+16.1°": 2, "+16.1° used by": 2, "+54.6°": 1}
    used = [each for each in timeline.intervals if "used by" in timeline.lanes[each.lane]]
    for each, night in zip(used, nights, strict=True):
        assert each.link == addresses(night)["calibration"]
        assert each.label.startswith(f"{night.observation}, calibrated with")
    assert [each.tone for each in timeline.intervals if each.link.endswith(f"/{other.pk}/change/")] == ["bad"]


def test_observations_in_a_row_that_used_one_calibration_are_one_bar(nights, viewer):
    old, new = nights
    Product.objects.filter(kind="calibrated-ms").update(params={"calibration_path": old.calibration.path})
    timeline = viewer.get(addresses(old)["calibrations"]).context["timeline"].value
    (used,) = (each for each in timeline.intervals if "used by" in timeline.lanes[each.lane])
    assert used.label.startswith(f"2 observations from {old.observation}")
    assert used.link == addresses(old)["calibration"]
    Product.objects.filter(observation=new.observation, kind="calibrated-ms").update(
        params={"calibration_path": "/gone"}
    )
    timeline = viewer.get(addresses(old)["calibrations"]).context["timeline"].value
    assert len(timeline.intervals) == 3


def test_storage_counts_by_tier_and_kind_and_tries_a_retention(nights, viewer, tmp_path):
    context = viewer.get(reverse("admin:page_storage")).context
    (tier,) = context["tiers"]
    assert (tier.path, tier.product_bytes) == (str(tmp_path), 2 * (4_000_000 + 60_480))
    assert tier.days_left == pytest.approx(tier.free_bytes / tier.growth_bytes_per_day)
    kinds = {kind.name: (kind.number, kind.n_bytes) for kind in context["panels"]["sums"].value.kinds}
    assert kinds["calibrated-ms"] == (2, 8_000_000)
    Product.objects.filter(kind="calibrated-ms", observation=nights[0].observation).update(
        created_at="2020-01-01T00:00:00Z"
    )
    asked = {"older_than_days": "30", "kinds": ["calibrated-ms", "ms"]}
    assert viewer.get(reverse("admin:page_storage"), asked).context["dry_run"].number == 0  # by the sums that are kept
    cache.clear()
    found = viewer.get(reverse("admin:page_storage"), asked).context["dry_run"]
    assert (found.number, found.n_bytes, found.kinds) == (1, 4_000_000, [("calibrated-ms", 1, 4_000_000)])
    assert Product.objects.filter(kind="calibrated-ms").count() == 2


@pytest.mark.parametrize("query", ["older_than_days=-1", "older_than_days=x&kinds=ms", "kinds=image", "kinds=ms"])
def test_a_retention_that_cannot_be_tried_is_refused(viewer, query):
    wrong = viewer.get(f"{reverse('admin:page_storage')}?{query}")
    assert wrong.status_code == 400
    assert wrong.context["dry_run"] is None and "errorlist" in wrong.content.decode()


@pytest.mark.parametrize(
    ("model", "column", "value"),
    [
        ("observation", "state", "ready"),
        ("observation", "role", "target"),
        ("calibration", "calibrator", None),
        ("product", "kind", "image"),
        ("measurement", "verdict", "warn"),
        ("subbandfile", "state", "accepted"),
    ],
)
def test_a_list_is_filtered_above_its_rows_by_values_that_there_are(nights, viewer, model, column, value):
    address = reverse(f"admin:pipeline_app_{model}_changelist")
    value = value or Calibration.objects.values_list("calibrator", flat=True)[0]
    page = viewer.get(address, {column: value})
    text = page.content.decode()
    assert page.status_code == 200
    assert f'<select name="{column}">' in text and f'<option value="{value}" selected>' in text
    assert 'id="changelist-filter"' not in text
    rows = page.context["cl"].queryset
    assert set(rows.values_list(column, flat=True)) <= {value}
    wrong = viewer.get(address, {column: "purple"})
    assert wrong.status_code == 400
    assert f"There is no {column} &#x27;purple&#x27;" in wrong.content.decode()


def test_a_value_that_is_new_is_found_before_it_is_among_the_choices(nights, viewer):
    address = reverse("admin:pipeline_app_product_changelist")
    viewer.get(address)
    Product.objects.filter(pk=nights[0].image.pk).update(kind="mosaic")
    assert viewer.get(address, {"kind": "mosaic"}).context["cl"].result_count == 1


def test_a_long_path_is_shown_by_its_name_and_whole_on_hover(nights, viewer):
    path = f"/{'a' * 30}/{'b' * 30}/tile.fits"
    Product.objects.filter(pk=nights[0].image.pk).update(path=path)
    text = viewer.get(reverse("admin:pipeline_app_product_changelist")).content.decode()
    assert f'<code title="{path}">tile.fits</code><div class="quiet">/{"a" * 11}…{"b" * 24}</div>' in text


@pytest.mark.parametrize("model", ["product", "calibration", "observation", "measurement", "subbandfile"])
def test_what_is_not_there_is_not_found_and_shown_to_nobody_else(viewer, model):
    address = reverse(f"admin:pipeline_app_{model}_change", args=[77])
    assert viewer.get(address).status_code == 404
    stranger = Client()
    stranger.force_login(make_user("nemo"))
    assert stranger.get(address).status_code == 403


def test_a_raw_file_is_shown_in_the_list_and_in_no_form(viewer):
    file = make_tile("raw").observation.files.create(
        path="/data/a.hdf5", freq_min_hz=9, size_bytes=1, mtime_ns=1, state="accepted"
    )
    answer = viewer.get(reverse("admin:pipeline_app_subbandfile_change", args=[file.pk]))
    assert (answer.status_code, answer["Location"]) == (302, reverse("admin:pipeline_app_subbandfile_changelist"))


def test_operators_vote_on_images_and_everybody_sees_it(nights, viewer):
    image = nights[0].image
    page, vote = addresses(nights[0])["image"], reverse("admin:pipeline_app_product_vote", args=[image.pk])
    assert vote not in viewer.get(page).content.decode()
    assert viewer.post(vote, {"confirmed": "yes", "vote": "good", "reason": "no"}).status_code == 403
    operator = console_client("Operator")
    assert f"{vote}?vote=bad" in operator.get(page).content.decode()
    assert operator.get(f"{vote}?vote=bad").context["form"]["vote"].initial == "bad"
    sent = {"confirmed": "yes", "vote": "bad"}
    assert "errorlist" in operator.post(vote, {**sent, "reason": ""}).content.decode()
    done = operator.post(vote, {**sent, "reason": "stripes <b>everywhere"}, follow=True)
    assert done.redirect_chain[-1][0] == page
    text = viewer.get(page).content.decode()
    assert "stripes &lt;b&gt;everywhere" in text and "user:operator" in text
    (voted,) = (card for card in viewer.get(reverse("admin:page_images")).context["cards"] if card.votes)
    assert (voted.image, voted.votes) == (image, Counter(bad=1))
    other = reverse("admin:pipeline_app_product_vote", args=[Product.objects.filter(kind="preview")[0].pk])
    assert operator.get(other).status_code == 404


def test_a_refusal_is_taken_back_in_the_console_too(nights):
    calibration, operator = nights[1].calibration, console_client("Operator")
    address = reverse("admin:pipeline_app_calibration_accept", args=[calibration.pk])
    page = addresses(nights[1])["calibration"]
    assert "Cannot accept again: it was not refused by hand" in operator.get(page).content.decode()
    for operation in ("refuse", "accept"):
        address = reverse(f"admin:pipeline_app_calibration_{operation}", args=[calibration.pk])
        answer = operator.post(address, {"confirmed": "yes", "reason": f"{operation} it"}, follow=True)
        (said,) = map(str, answer.context["messages"])
        assert f"its verdict is {'fail' if operation == 'refuse' else 'pass'} now" in said
    calibration.refresh_from_db()
    assert (calibration.verdict, calibration.reasons) == ("pass", [])
    activity = operator.get(reverse("admin:tasks_app_taskevent_changelist")).content.decode()
    assert "refuse it" in activity and "accept it" in activity
    assert f"calibration {calibration.pk}, {nights[1].observation}" in activity


def test_the_chart_of_what_was_made_adds_up(nights, viewer):
    for number in range(storage.SHOWN_KINDS + 3):
        origin = {"task_id": uuid4(), "attempt": 1, "task_name": "imaging"}
        Product.objects.create(**origin, kind=f"kind-{number}", path=f"/data/{number}", size_bytes=10**9)
    growth = viewer.get(reverse("admin:page_storage")).context["growth"]
    assert len(growth.series) == storage.SHOWN_KINDS + 1 and growth.series[-1].name == "others"
    total = sum(Product.objects.exclude(size_bytes=None).values_list("size_bytes", flat=True))
    assert sum(value for series in growth.series for _, value in series.points) == pytest.approx(total / 1e9, abs=0.01)


@pytest.mark.parametrize(
    ("model", "term", "number"),
    [
        ("product", "2026-10-02", 6),
        ("product", "{directory}/", 6),
        ("product", "{task_id}", 3),
        ("product", "nothing", 0),
        ("measurement", "2026-10-02", 3),
        ("measurement", "S02", 2),
        ("measurement", "{image}", 3),
        ("subbandfile", "/somewhere/2026-10-02", 2),
        ("subbandfile", "2026-10-02", 2),
        ("subbandfile", "{task_id}", 0),
    ],
)
def test_lists_are_searched_by_what_people_paste(nights, viewer, model, term, number):
    image = nights[1].image
    term = term.format(directory=Path(image.path).parent, task_id=image.task_id, image=image.path)
    page = viewer.get(reverse(f"admin:pipeline_app_{model}_changelist"), {"q": term})
    assert page.context["cl"].result_count == number


def test_products_are_narrowed_by_the_kinds_that_occur(nights, viewer):
    address = reverse("admin:pipeline_app_product_changelist")
    page = viewer.get(address, {"kind": "image", "task_name": "imaging"})
    assert page.context["cl"].result_count == 2
    choices = [
        choice["display"] for each in page.context["cl"].filter_specs for choice in each.choices(page.context["cl"])
    ]
    assert {"thumbnail", "calibrated-ms", "photometry"} <= set(choices)


def test_growth_and_sizes_are_those_of_the_products(nights, viewer, tmp_path):
    Product.objects.filter(kind="calibrated-ms").update(created_at="2026-01-01T00:00:00Z")
    sums = viewer.get(reverse("admin:page_storage")).context["panels"]["sums"].value
    by_kind = {kind.name: (kind.number, kind.n_bytes) for kind in sums.kinds}
    assert by_kind["image"] == (2, 2 * 60_480) and by_kind["calibrated-ms"] == (2, 8_000_000)
    assert sums.by_root[str(tmp_path)] == (8_000_000 + 2 * 60_480, 2 * 60_480)


def test_the_gallery_asks_no_more_for_many_images_and_leads_to_all_of_them(nights, viewer):
    address = reverse("admin:page_images")
    viewer.get(address)
    with CaptureQueriesContext(connection) as few:
        viewer.get(address)
    origin = {"attempt": 1, "task_name": "imaging", "observation": nights[0].observation, "kind": "image"}
    Product.objects.bulk_create(
        Product(**origin, task_id=uuid4(), path=f"/data/{number}.fits", metrics=IMAGE_METRICS) for number in range(60)
    )
    with CaptureQueriesContext(connection) as many:
        page = viewer.get(address)
    assert len(many) == len(few)
    found = [card.image.pk for card in page.context["cards"]]
    while page.context["older"]:
        page = viewer.get(f"{address}?{page.context['older']}")
        found += [card.image.pk for card in page.context["cards"]]
    assert len(found) == len(set(found)) == 62 and found == sorted(found, reverse=True)


def test_every_figure_of_the_control_room_is_a_link(nights, viewer):
    figures = viewer.get("/admin/").context["figures"]
    assert "real-time factor" in {figure.label for figure in figures}
    for figure in figures:
        assert viewer.get(figure.address).status_code == 200, figure


def test_the_latest_picture_of_the_control_room_leads_to_the_page_of_its_image(nights, viewer):
    latest = Product.objects.filter(kind="image").latest("id")
    address = reverse("admin:page_image", args=[latest.pk])
    assert re.search(rf'<figure class="latest">\s*<a href="{address}">', viewer.get("/admin/").content.decode())
