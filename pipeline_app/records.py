"""Results into rows, inside the transaction that completes the task: the rows are the publication."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from django.conf import settings

from pipeline_app.models import Calibration, Measurement, Observation, Product
from pipeline_app.registration import PHOTOMETRY, SOLVE
from tasks_app.engine.claim import Claim
from tasks_app.models import Task
from tasks_app.version import NAME, VERSION, commit

PACKAGES = ("casatools", "casatasks", "pyuvdata", "numpy", "astropy")


@cache
def software_versions() -> dict[str, str]:
    """Return the versions of Python, of the packages that matter and, where there is one, the checkout's commit."""
    found = {"python": platform.python_version(), NAME: VERSION}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | ({"commit": commit()} if commit() else {})


def record(task: Task, claim: Claim, products: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of a completed stage. Called by the queue with the task's row locked."""
    observation = observation_of(task, claim)
    for product in products:
        _record_product(task, claim, product, observation)
    if task.task_name == SOLVE:
        _record_calibration(task, observation)
    elif task.task_name == PHOTOMETRY:
        _record_measurements(task, claim, observation)


def root_of(path: str) -> str:
    """Return the data root of this host, where the product was made, that its path lies in."""
    roots = [root for root in settings.ABSURD_DATA_ROOTS if Path(path).is_relative_to(root)]
    return str(max(roots, key=lambda root: len(root.parts), default=""))


def observation_of(task: Task, claim: Claim) -> Observation | None:
    """Return the tile that a task worked on: of its run, else of the products and raw files that it read."""
    if task.run is not None:
        return Observation.objects.filter(pk=task.run.params.get("observation_id")).first()
    inputs = {
        str(value) for name, value in claim.params.items() if name.endswith("_path") and "calibration" not in name
    }
    inputs.update(map(str, claim.params.get("paths", ())))
    source = Product.objects.filter(path__in=inputs, observation__isnull=False).select_related("observation").first()
    if source is not None:
        return source.observation
    return Observation.objects.filter(files__path__in=inputs).first()


def _record_product(task: Task, claim: Claim, product: Mapping[str, Any], observation: Observation | None) -> None:
    Product.objects.create(
        task_id=task.task_id,
        run_id=task.run.run_id if task.run else None,
        attempt=claim.attempt,
        task_name=task.task_name,
        observation=observation,
        kind=product["kind"],
        path=product["path"],
        host=task.worker.host if task.worker else "",
        root=root_of(product["path"]),
        size_bytes=product.get("size_bytes"),
        checksum=product.get("checksum") or "",
        metrics=dict(product.get("metrics") or {}),
        verdict=product.get("verdict") or "",
        inputs=list(product.get("inputs") or ()),
        params=claim.params,
        versions=software_versions(),
    )


def _record_calibration(task: Task, observation: Observation | None) -> None:
    result = task.result or {}
    Calibration.objects.create(
        task_id=task.task_id,
        observation=observation,
        path=result["calibration_path"],
        telescope_name=observation.telescope_name if observation else "",
        mid_mjd=result["mid_time_mjd"],
        declination_deg=result["declination_deg"],
        calibrator=result.get("calibrator") or "",
        calibrator_apparent_flux_jy=result.get("calibrator_apparent_flux_jy"),
        refant=result.get("refant") or "",
        snr_median=result.get("snr_median"),
        flagged_solutions=result.get("flagged_solutions"),
        verdict=result["verdict"],
        reasons=result.get("reasons", []),
    )


def _record_measurements(task: Task, claim: Claim, observation: Observation | None) -> None:
    result = task.result or {}
    Measurement.objects.bulk_create(
        Measurement(
            task_id=task.task_id,
            observation=observation,
            image_path=claim.params["image_path"],
            mid_mjd=observation.mid_mjd if observation else None,
            freq_hz=result["freq_hz"],
            **measured | {"verdict": measured.get("verdict") or ""},
        )
        for measured in result["measurements"]
    )
