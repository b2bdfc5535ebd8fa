"""The pages of observations, images, calibrations, sources and storage in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from django.urls import reverse
from playwright.sync_api import expect

from pipeline_app.models import Measurement, Product
from tasks_app.models import Attempt
from tests.browser.visitor import Visitor
from tests.pipeline_app.console_rows import (
    CELL_DEG,
    DEC_DEG,
    NAMES,
    NOISE_JY,
    RA_DEG,
    SIDE,
    Night,
    make_nights,
    position_of,
)
from tests.pipeline_app.test_console import PAGES, addresses
from tests.tasks_app.notes import make_worker

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]


@pytest.fixture
def nights(live_environment: dict[str, str]) -> list[Night]:
    return make_nights(Path(live_environment["ABSURD_DATA_ROOTS"]) / "nights")


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_every_page_fits_is_accessible_and_draws_its_charts(nights, visit: Visit, width: int, theme: str):
    visitor = visit("Viewer", width=width, theme=theme)
    wrong = []
    for name in PAGES:
        page = visitor.open(addresses(nights[1])[name])
        if name == "viewer":
            page.wait_for_selector("#viewer-canvas[data-ready]")
        visitor.look(f"{name}-{width}-{theme}")
        found = (page.locator("h1").count(), visitor.overflow_px(), visitor.serious_faults())
        if found != (1, 0, []):
            wrong.append((name, *found))
    assert not wrong, "\n".join(map(str, wrong))


def open_viewer(visit: Visit, night: Night, query: str = "") -> Visitor:
    visitor = visit("Viewer")
    page = visitor.open(reverse("admin:page_viewer", args=[night.image.pk]) + query)
    page.wait_for_selector("#viewer-canvas[data-ready=image]")
    return visitor


def read_at(visitor: Visitor, left: float, top: float) -> dict[str, str]:
    """Return what the viewer says of a place, in parts of the canvas."""
    page, canvas = visitor.page, visitor.page.locator("#viewer-canvas")
    canvas.scroll_into_view_if_needed()
    edge = canvas.bounding_box()
    assert edge is not None
    page.mouse.move(edge["x"] + left * edge["width"], edge["y"] + top * edge["height"])
    names = ("value", "icrs", "degrees", "galactic", "pixel", "source")
    return {name: page.inner_text(f"#read-{name}") for name in names}


def test_the_viewer_reads_values_and_positions_from_the_file(nights, visit: Visit):
    """The middle of the canvas is half a pixel beside the reference pixel, where the second source is."""
    visitor = open_viewer(visit, nights[0])
    found = read_at(visitor, 0.5, 0.5)
    ra_deg, dec_deg = (float(each) for each in re.findall(r"[\d.]+", found["degrees"]))
    assert abs(ra_deg - RA_DEG) < 6 / 3600 and abs(dec_deg - DEC_DEG) < 6 / 3600
    place = SkyCoord(ra_deg, dec_deg, unit="deg")
    longitude, latitude = (float(each) for each in re.findall(r"-?[\d.]+", found["galactic"]))
    assert longitude == pytest.approx(place.galactic.l.deg, abs=1e-3)
    assert latitude == pytest.approx(place.galactic.b.deg, abs=1e-3)
    assert SkyCoord(*found["icrs"].split(), unit=("hourangle", "deg")).separation(place).arcsec < 0.3
    assert "S02: 300.00 mJy, 1.00 of the catalogue's, SNR 150.0" in found["source"]
    value_mjy = float(found["value"].split()[0])
    assert value_mjy == pytest.approx(300, abs=5) or abs(value_mjy) < 6e3 * NOISE_JY
    column, row = (int(each) for each in re.findall(r"\d+", found["pixel"])[:2])
    assert abs(column - SIDE / 2) <= 1 and abs(row - SIDE / 2) <= 1


def degrees_at(visitor: Visitor, left: float, top: float) -> list[float]:
    return [float(each) for each in re.findall(r"[\d.]+", read_at(visitor, left, top)["degrees"])]


def test_zoom_and_keys_move_the_image_and_the_place_under_the_cursor_stays(nights, visit: Visit):
    visitor = open_viewer(visit, nights[0])
    half_pixel_deg = CELL_DEG / 2
    before = degrees_at(visitor, 0.55, 0.4)
    visitor.page.mouse.wheel(0, -300)
    assert degrees_at(visitor, 0.55, 0.4) == pytest.approx(before, abs=half_pixel_deg)
    visitor.page.focus("#viewer-canvas")
    visitor.page.keyboard.press("ArrowRight")
    moved = degrees_at(visitor, 0.55, 0.4)
    assert moved[0] < before[0] - CELL_DEG
    visitor.page.keyboard.press("0")
    assert degrees_at(visitor, 0.55, 0.4) == pytest.approx(before, abs=half_pixel_deg)


def test_the_viewer_has_a_beam_and_limits_that_can_be_written(nights, visit: Visit):
    page = open_viewer(visit, nights[0]).page
    assert page.inner_text("#read-beam") == "20.0″ × 14.0″, position angle 30°"
    assert page.inner_text("#viewer-unit") == "mJy/beam"
    low, high = (float(page.input_value(f"#viewer-{end}")) for end in ("low", "high"))
    assert (low, high) == (pytest.approx(-3e3 * NOISE_JY, rel=0.01), pytest.approx(60e3 * NOISE_JY, rel=0.01))
    picture = "document.getElementById('viewer-canvas').toDataURL()"
    before = page.evaluate(picture)
    page.fill("#viewer-high", "2.5")
    page.press("#viewer-high", "Tab")
    assert page.input_value("#viewer-range") == "own"
    assert page.evaluate(picture) != before
    page.select_option("#viewer-range", "noise")
    assert float(page.input_value("#viewer-high")) == high
    assert page.evaluate(picture) == before
    for stretch in ("linear", "log", "sqrt"):
        page.select_option("#viewer-stretch", stretch)
        assert page.evaluate(picture) != before, stretch


def test_two_epochs_blink_on_the_same_pixels(nights, visit: Visit):
    visitor = open_viewer(visit, nights[0])
    page, status = visitor.page, visitor.page.locator("#viewer-status")
    assert page.locator("#viewer-blink").is_disabled()
    page.select_option("#viewer-epoch", index=1)
    page.wait_for_selector("#viewer-blink:not([disabled])")
    picture = "document.getElementById('viewer-canvas').toDataURL()"
    first = page.evaluate(picture)
    visitor.click("#viewer-blink")
    expect(status).to_have_text(re.compile("^second: "))
    visitor.click("#viewer-blink")
    expect(status).to_have_text("ready")
    assert page.evaluate(picture) == first
    page.evaluate("document.getElementById('viewer-blink').click()")
    assert page.evaluate(picture) != first


def test_files_that_are_gone_are_said_with_their_host_and_no_page_has_a_broken_picture_or_link(nights, visit: Visit):
    """All that the first night's image has made is gone, and the second night's is there."""
    night = nights[0]
    worker = make_worker(host="imager-3")
    for product in Product.objects.filter(task_id=night.image.task_id):
        Path(product.path).unlink()
    Attempt.objects.create(task_id=night.image.task_id, number=1, claim_token=uuid4(), worker=worker)
    preview = Product.objects.get(task_id=night.image.task_id, kind="preview")
    visitor = visit("Viewer")
    places = {name: addresses(night)[name] for name in ("images", "tile", "image", "viewer", "source", "product")}
    places["preview"] = reverse("admin:pipeline_app_product_change", args=[preview.pk])
    wrong = []
    for name, place in places.items():
        page = visitor.open(place)
        said = page.locator(".missing")
        if "the file is gone" not in said.first.inner_text() or "written on imager-3" not in said.first.inner_text():
            wrong.append((name, said.first.inner_text()))
        page.evaluate("document.querySelectorAll('img').forEach((each) => { each.loading = 'eager'; })")
        broken = page.evaluate(
            "Promise.all([...document.querySelectorAll('#content img')]"
            ".map((each) => each.decode().then(() => 0, () => 1)))"
        )
        links = page.eval_on_selector_all(
            "#content a[href*='/file/'], #content a[href*='/stamp/']", "(all) => all.map((each) => each.href)"
        )
        refused = [link for link in links if not page.request.get(link).ok]
        if any(broken) or refused:
            wrong.append((name, broken, refused))
    assert wrong == []
    page = visitor.open(places["viewer"])
    expect(page.locator("#viewer-status")).to_contain_text("is not here: see above")


def test_sources_are_marked_on_the_picture_of_an_image_where_they_lie_and_hidden_by_a_key(nights, visit: Visit):
    """The third source was not seen, and the second has no catalogue flux."""
    Measurement.objects.filter(name="S03").update(snr=3.0)
    Measurement.objects.filter(name="S02").update(catalog_flux_jy=None)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---SIN", "DEC--SIN"], [RA_DEG, DEC_DEG]
    wcs.wcs.crpix, wcs.wcs.cdelt = [SIDE / 2 + 1, SIDE / 2 + 1], [-CELL_DEG, CELL_DEG]
    visitor = visit("Viewer")
    page = visitor.open(reverse("admin:page_image", args=[nights[0].image.pk]))
    marks = page.locator(".under-marks .marks")
    for name in NAMES:
        x, y = (float(value) for value in wcs.all_world2pix(*position_of(name), 0))
        mark = marks.locator("g", has_text=name)
        circle = mark.locator("circle")
        place = [float(circle.get_attribute(each) or "nan") for each in ("cx", "cy")]
        expected = (1000 * (0.12 + 0.75 * (x + 0.5) / SIDE), 920 * (0.11 + 0.8 * (1 - (y + 0.5) / SIDE)))
        assert place == pytest.approx(expected, abs=0.1)
        assert mark.get_attribute("class") == ("mark-unseen" if name == "S03" else "mark-seen")
        assert mark.locator("path").count() == (0 if name == "S02" else 1)
    assert "S01: 500.0 ± 2.0 mJy, SNR 150.0, catalogue 500 mJy" in marks.inner_html()
    expect(page.locator(".overlay-tools")).to_contain_text("with a catalogue flux")
    expect(marks).to_be_visible()
    page.keyboard.press("s")
    expect(marks).to_be_hidden()
    page.focus("#marks-shown")
    page.keyboard.press("Space")
    expect(marks).to_be_visible()
    Product.objects.filter(kind="preview").update(metrics={})
    page.reload()
    expect(page.locator(".picture")).to_contain_text("did not record where the sky lies")


def test_an_operator_finds_the_bad_antenna_and_refuses_the_calibration(nights, visit: Visit):
    visitor = visit("Operator")
    page = visitor.open("/admin/")
    visitor.click("#console-navigation >> text=Calibrations")
    visitor.click(f"#result_list >> text={nights[1].observation}")
    expect(page.locator(".antenna-no-data strong")).to_have_text(["9"])
    visitor.click("text=Refuse…")
    page.fill("#id_reason", "snow on the dishes")
    visitor.click("input[name=confirmed]")
    page.wait_for_selector("h1 .pill-fail")
    assert "refused by user:" in page.inner_text(".reasons")
    assert visitor.clicks == 4
