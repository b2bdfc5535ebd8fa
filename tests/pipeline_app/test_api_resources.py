"""Observations, calibrations, sources and light curves over HTTP."""

from __future__ import annotations

import csv
import io
from typing import Any
from uuid import uuid4

import pytest

from pipeline_app.models import Calibration, Measurement, Product, SubbandFile
from pipeline_app.workflows import Plan, start
from tests.pipeline_app.test_workflows import CATALOG, make_tile
from tests.tasks_app.callers import Caller, log_in, make_key

pytestmark = pytest.mark.django_db
ROOT = "/api/absurd/pipeline"


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("read"))


def measure(name: str, mid_mjd: float | None, flux_jy: float = 0.5, **fields: Any) -> Measurement:
    defaults = {
        "task_id": uuid4(), "image_path": "/data/a.fits", "ra_deg": 10.0, "dec_deg": 16.0, "freq_hz": 1.405e9,
        "flux_err_jy": 0.01, "snr": 50.0, "local_rms_jy": 0.001, "primary_beam": 0.9,
    }  # fmt: skip
    return Measurement.objects.create(name=name, mid_mjd=mid_mjd, flux_jy=flux_jy, **{**defaults, **fields})


def test_observations_are_listed_narrowed_and_paged(api):
    tiles = [
        make_tile(f"2025-11-18T0{hour}", mid_mjd=61314.0 + hour / 24, declination_deg=15.0 + hour) for hour in range(3)
    ]
    SubbandFile.objects.filter(observation=tiles[0].observation).first().delete()
    body = api.get(f"{ROOT}/observations").body
    assert [row["name"] for row in body["observations"]] == ["2025-11-18T02", "2025-11-18T01", "2025-11-18T00"]
    assert [row["subbands"] for row in body["observations"]] == [2, 2, 1]

    def names(query: str) -> list[str]:
        return [row["name"][-2:] for row in api.get(f"{ROOT}/observations?{query}").body["observations"]]

    assert names("declination_min=16&state=ready") == ["02", "01"]
    assert names("mjd_max=61314.02") == names("name=2025-11-18T00") == ["00"]
    assert names("role=target") == []
    first = api.get(f"{ROOT}/observations?limit=2").body
    assert [row["name"][-2:] for row in api.get(first["next"]).body["observations"]] == ["00"]
    assert api.get(f"{ROOT}/observations?state=lost").status_code == 400


def test_an_observation_is_shown_with_its_files_run_products_and_calibrations(api):
    tile = make_tile("bright", flux_jy=12.0)
    (run,) = start([Plan.calibrator(tile)], CATALOG, actor="user:test")
    made = {"task_id": uuid4(), "attempt": 1, "task_name": "imaging", "observation": tile.observation}
    Product.objects.create(path="/data/new.fits", kind="image", run_id=run.run_id, **made)
    Product.objects.create(path="/data/old.fits", kind="image", run_id=uuid4(), **made)
    body = api.get(f"{ROOT}/observations/{tile.observation.pk}").body
    assert [file["path"] for file in body["files"]] == sorted(tile.paths, reverse=True)
    assert len(body["missing_subbands"]) == 16
    assert [product["path"] for product in body["products"]] == ["/data/new.fits"]
    assert (body["run"]["run_id"], body["run"]["workflow"], body["run"]["total"]) == (
        str(run.run_id), "standard-pipeline", 6,
    )  # fmt: skip
    assert body["calibrations"] == []


def test_an_observation_that_never_ran_has_neither_run_nor_products(api):
    tile = make_tile("faint")
    Product.objects.create(
        path="/data/a", kind="image", task_id=uuid4(), attempt=1, task_name="x", observation=tile.observation
    )
    body = api.get(f"{ROOT}/observations/{tile.observation.pk}").body
    assert (body["run"], body["products"]) == (None, [])


def test_calibrations_are_listed_and_shown(api):
    good, bad = (
        Calibration.objects.create(
            task_id=uuid4(), path=f"/data/{verdict}", mid_mjd=61314.0 + place, declination_deg=16.1, verdict=verdict,
            calibrator="3C454.3", reasons=["snr"] if verdict == "fail" else [],
        )
        for place, verdict in enumerate(("pass", "fail"))
    )  # fmt: skip
    rows = api.get(f"{ROOT}/calibrations").body["calibrations"]
    assert [row["id"] for row in rows] == [bad.pk, good.pk]
    assert [row["verdict"] for row in api.get(f"{ROOT}/calibrations?verdict=pass").body["calibrations"]] == ["pass"]
    assert api.get(f"{ROOT}/calibrations?mjd_min=61314.5").body["calibrations"][0]["reasons"] == ["snr"]
    assert api.get(f"{ROOT}/calibrations/{good.pk}").body["calibrator"] == "3C454.3"


def test_sources_are_listed_by_name_in_pages_with_what_was_measured(api):
    for name, mjd, flux in (("S02", 61314.0, 1.0), ("S01", 61314.0, 0.4), ("S01", 61315.0, 0.6), ("B03", 1.0, 2.0)):
        measure(name, mjd, flux)
    first = api.get(f"{ROOT}/sources?limit=2").body
    rest = api.get(first["next"]).body
    assert [source["name"] for source in first["sources"] + rest["sources"]] == ["B03", "S01", "S02"]
    assert rest["next"] is None
    source = first["sources"][1]
    assert (source["measurements"], source["first_mjd"], source["last_mjd"]) == (2, 61314.0, 61315.0)
    assert (source["mean_flux_jy"], source["min_flux_jy"], source["max_flux_jy"]) == (0.5, 0.4, 0.6)
    assert api.get(f"{ROOT}/sources/S01").body == source
    assert [each["name"] for each in api.get(f"{ROOT}/sources?name=S").body["sources"]] == ["S01", "S02"]
    assert api.get(f"{ROOT}/sources?name=%00").status_code == 400


def test_a_light_curve_is_in_order_of_time_as_json(api):
    tile = make_tile("tile")
    later, earlier = measure("S01", 61315.0, 0.6), measure("S01", 61314.0, 0.4, observation=tile.observation)
    measure("S02", 61314.5)
    address = api.get(f"{ROOT}/sources/S01").body["light_curve"]
    curve = api.get(address).body
    assert (curve["name"], curve["truncated"]) == ("S01", False)
    assert [point["task_id"] for point in curve["points"]] == [str(earlier.task_id), str(later.task_id)]
    assert (curve["points"][0]["observation"], curve["points"][1]["observation"]) == ("tile", None)
    assert [point["flux_jy"] for point in api.get(f"{address}?mjd_min=61314.5").body["points"]] == [0.6]


def test_points_carry_their_verdict_and_failed_ones_count_in_no_mean(api):
    for mjd, flux_jy, verdict in ((61314.0, 0.4, "pass"), (61315.0, 0.6, "warn"), (61316.0, 9.0, "fail")):
        measure("S01", mjd, flux_jy, verdict=verdict)
    measure("S02", 61314.0, 5.0, verdict="fail")
    source = api.get(f"{ROOT}/sources/S01").body
    assert (source["measurements"], source["failed"], source["last_mjd"]) == (3, 1, 61316.0)
    assert (source["mean_flux_jy"], source["max_flux_jy"]) == (0.5, 0.6)
    assert api.get(f"{ROOT}/sources/S02").body["mean_flux_jy"] is None
    curve = api.get(source["light_curve"]).body
    assert [point["verdict"] for point in curve["points"]] == ["pass", "warn", "fail"]
    assert len(api.get(f"{source['light_curve']}?verdict=fail").body["points"]) == 1
    response = api.get(f"{ROOT}/sources/S01/lightcurve.csv", Accept="text/csv")
    rows = list(csv.DictReader(io.StringIO(response.content.decode())))
    assert [row["verdict"] for row in rows] == ["pass", "warn", "fail"]


def test_an_observation_that_was_measured_again_is_one_epoch_and_the_latest_counts(api):
    tile, other = make_tile("tile").observation, make_tile("other", mid_mjd=61315.0).observation
    measure("S01", 61314.0, 9.0, observation=tile, verdict="pass")
    measure("S01", 61314.0, 0.4, observation=tile, freq_hz=1.3e9)
    measure("S01", 61315.0, 0.6, observation=other)
    latest = measure("S01", 61314.0, 0.5, observation=tile, verdict="fail")
    unknown = [measure("S01", None, flux_jy) for flux_jy in (0.7, 0.8)]
    points = api.get(f"{ROOT}/sources/S01/lightcurve").body["points"]
    assert [point["flux_jy"] for point in points] == [0.4, 0.5, 0.6, 0.7, 0.8]
    assert points[1]["task_id"] == str(latest.task_id) and points[-1]["task_id"] == str(unknown[1].task_id)
    assert api.get(f"{ROOT}/sources/S01/lightcurve?verdict=pass").body["points"] == []
    for source in (api.get(f"{ROOT}/sources/S01").body, api.get(f"{ROOT}/sources").body["sources"][0]):
        assert (source["measurements"], source["failed"], source["max_flux_jy"]) == (5, 1, 0.8)
    response = api.get(f"{ROOT}/sources/S01/lightcurve.csv", Accept="text/csv")
    assert len(list(csv.DictReader(io.StringIO(response.content.decode())))) == 5


@pytest.mark.parametrize(
    ("right_ascensions_deg", "mean_deg"),
    [((359.999, 0.001), 0.0), ((359.998, 0.001), 359.9995), ((188.0, 188.002), 188.001)],
)
def test_right_ascensions_are_averaged_across_0h(api, right_ascensions_deg, mean_deg):
    for day, ra_deg in enumerate(right_ascensions_deg):
        measure("S01", 61314.0 + day, ra_deg=ra_deg)
    found_deg = api.get(f"{ROOT}/sources/S01").body["ra_deg"]
    assert 0 <= found_deg <= 360
    assert (found_deg - mean_deg + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)


def test_a_light_curve_is_fetched_as_csv(api):
    measure("J0542+4951/a", 61314.0, 0.4, image_path="=HYPERLINK(1)")
    response = api.get(f"{ROOT}/sources/J0542%2B4951%2Fa/lightcurve.csv", Accept="text/csv")
    assert (response.status_code, response["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert response["Content-Disposition"].startswith("attachment")
    (row,) = csv.DictReader(io.StringIO(response.content.decode()))
    assert (float(row["mid_mjd"]), float(row["flux_jy"]), row["observation"]) == (61314.0, 0.4, "")
    assert row["image_path"] == "'=HYPERLINK(1)"


@pytest.mark.parametrize(
    "path",
    ["observations/7", "calibrations/7", "products/7", "sources/S99", "sources/S99/lightcurve.csv"],
)
def test_what_there_is_not_is_not_found(api, path):
    response = api.get(f"{ROOT}/{path}")
    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    "path", ["observations", "calibrations", "products", "sources", "sources/S01", "sources/S01/lightcurve.csv"]
)
def test_only_who_may_view_sees_it(api, path):
    measure("S01", 61314.0)
    assert Caller().get(f"{ROOT}/{path}").status_code == 401
    assert Caller(make_key("spawn")).get(f"{ROOT}/{path}").status_code == 403
    assert log_in("nora").get(f"{ROOT}/{path}").status_code == 403
    assert log_in("vera", "Viewer").get(f"{ROOT}/{path}").status_code == 200
    assert api.post(f"{ROOT}/{path}").status_code == 405
