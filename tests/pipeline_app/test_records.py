from __future__ import annotations

from typing import Any

import pytest

from pipeline_app.models import Calibration, Measurement, Product
from pipeline_app.workflows import Options, Plan, start
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import AttemptReport
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn
from tasks_app.errors import LostClaim
from tasks_app.models import Task, Worker
from tests.pipeline_app.test_workflows import CATALOG, make_tile
from tests.tasks_app.notes import make_worker

pytestmark = pytest.mark.django_db
SOLVED = {
    "calibration_path": "/data/cal",
    "mid_time_mjd": 61314.25,
    "declination_deg": 16.1,
    "verdict": "warn",
    "reasons": ["low signal"],
    "calibrator": "3C454.3",
    "calibrator_apparent_flux_jy": 12.2,
    "refant": "103",
    "snr_median": 9.0,
    "flagged_solutions": 0.1,
}
MEASURED = {
    "name": "S01",
    "ra_deg": 10.0,
    "dec_deg": 16.0,
    "flux_jy": 0.51,
    "flux_err_jy": 0.01,
    "snr": 51.0,
    "offset_arcsec": 0.3,
    "catalog_flux_jy": 0.5,
    "local_rms_jy": 0.004,
    "primary_beam": 0.8,
    "verdict": "warn",
}
RESULTS: dict[str, dict[str, Any]] = {
    "convert-uvh5-to-ms": {"ms_path": "/data/raw.ms"},
    "calibration-solve": SOLVED,
    "calibrate-target": {"ms_path": "/data/calibrated.ms", "verdict": "pass", "reasons": []},
    "imaging": {"image_path": "/data/i.fits", "flat_image_path": "/data/f.fits", "pb_path": "/data/p.fits"},
    "validation": {"record_path": "/data/validation.json", "verdict": "pass", "reasons": []},
    "photometry": {"freq_hz": 1.405e9, "measurements": [MEASURED]},
}


def finish_next(worker: Worker, products: list[dict[str, Any]] | None = None) -> Task:
    (claim,) = claim_tasks(worker, limit=1)
    return complete_task(claim, RESULTS[claim.task_name], AttemptReport(), products=products or [])


def test_a_whole_run_leaves_products_calibration_and_fluxes_with_their_origin():
    tile = make_tile("bright", flux_jy=12.0)
    (run,) = start([Plan.calibrator(tile)], CATALOG, actor="cli:test")
    worker = make_worker()
    image = {"kind": "image", "path": "/data/i.fits", "metrics": {"rms_jy": 0.004}, "verdict": "pass"}
    convert = finish_next(worker)
    finish_next(worker)
    finish_next(worker)
    imaging = finish_next(worker, [image | {"inputs": ["/data/calibrated.ms"], "size_bytes": 7, "checksum": "abc"}])
    finish_next(worker)
    photometry = finish_next(worker)

    product = Product.objects.get()
    assert (product.observation, product.task_id, product.run_id) == (tile.observation, imaging.task_id, run.run_id)
    assert (product.metrics["rms_jy"], product.verdict, product.size_bytes, product.checksum) == (
        0.004,
        "pass",
        7,
        "abc",
    )
    assert product.inputs == ["/data/calibrated.ms"] and product.params == {"ms_path": "/data/calibrated.ms"}
    assert {"python", "casatools", "casatasks", "pyuvdata"} <= set(product.versions)
    calibration = Calibration.objects.get()
    assert (calibration.path, calibration.verdict, calibration.refant) == ("/data/cal", "warn", "103")
    assert (calibration.observation, calibration.telescope_name) == (tile.observation, "OVRO_MMA")
    flux = Measurement.objects.get()
    assert (flux.name, flux.flux_jy, flux.task_id, flux.image_path) == ("S01", 0.51, photometry.task_id, "/data/i.fits")
    assert (flux.mid_mjd, flux.verdict) == (tile.observation.mid_mjd, "warn")
    assert convert.status == photometry.status == "completed"


def test_a_refused_completion_leaves_no_rows():
    tile = make_tile("bright", flux_jy=12.0)
    start([Plan.calibrator(tile)], Options(), actor="cli:test")
    (claim,) = claim_tasks(make_worker(), limit=1)
    Task.objects.filter(task_id=claim.task_id).update(claim_token="00000000-0000-0000-0000-000000000001")
    with pytest.raises(LostClaim):
        complete_task(claim, RESULTS[claim.task_name], AttemptReport(), products=[{"kind": "ms", "path": "/x"}])
    assert not Product.objects.exists()


def test_a_task_spawned_by_hand_belongs_to_the_tile_of_what_it_read():
    tile = make_tile("bright", flux_jy=12.0)
    Product.objects.create(
        task_id="00000000-0000-0000-0000-000000000001",
        attempt=1,
        kind="ms",
        path="/stage/raw.ms",
        observation=tile.observation,
    )
    spawn(TaskOptions(task_name="calibration-solve", params={"ms_path": "/stage/raw.ms"}), actor="user:test")
    finish_next(make_worker())
    assert Calibration.objects.get().observation == tile.observation
