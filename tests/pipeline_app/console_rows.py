"""Two nights of one strip in the database, with small real files, for the pages of the console."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from django.urls import reverse

from pipeline_app.calibration_summary import SUMMARY_NAME, AntennaSummary, SolutionsSummary
from pipeline_app.models import Calibration, Measurement, Observation, Product
from pipeline_app.preview_frame import PreviewFrame
from tests.pipeline_app.test_workflows import make_tile

SIDE = 120
CELL_DEG = 6 / 3600
RA_DEG, DEC_DEG = 10.0, 16.1
NOISE_JY = 1e-3
MJD = 61314.25
NAMES = ("S01", "S02", "S03")
FLUXES_JY = {"S01": (0.5, 1.0), "S02": (0.3, 0.3006), "S03": (0.2, 0.1996)}
"""By night; the first varies."""
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f64540"
    "0000000049454e44ae426082"
)
IMAGE_METRICS = {
    "rms_jy": NOISE_JY,
    "thermal_rms_jy": 8e-4,
    "peak_jy": 0.9,
    "dynamic_range": 900.0,
    "beam_major_arcsec": 20.0,
    "beam_minor_arcsec": 14.0,
    "beam_pa_deg": 30.0,
    "freq_hz": 1.405e9,
    "imsize_pix": SIDE,
    "cell_arcsec": 6.0,
}


FRAME = PreviewFrame(
    width_px=1000, height_px=920, left=0.12, top=0.11, width=0.75, height=0.8, n_x=SIDE, n_y=SIDE, projection="SIN",
    ra_deg=RA_DEG, dec_deg=DEC_DEG, x_pix=SIDE / 2, y_pix=SIDE / 2, dx_deg=-CELL_DEG, dy_deg=CELL_DEG,
)  # fmt: skip
"""Where the sky lies in a preview."""


def position_of(name: str) -> tuple[float, float]:
    """Return where a source is, ICRS degrees."""
    number = NAMES.index(name)
    return RA_DEG + (number - 1) * 0.05, DEC_DEG + (number - 1) * 0.04


def write_image(path: Path, sources: dict[str, float], seed: int = 1) -> WCS:
    """Write a FITS image of four axes as the imaging stage does, each source in one pixel over noise."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---SIN", "DEC--SIN"], [RA_DEG, DEC_DEG]
    wcs.wcs.crpix, wcs.wcs.cdelt = [SIDE / 2 + 1, SIDE / 2 + 1], [-CELL_DEG, CELL_DEG]
    data = np.random.default_rng(seed).standard_normal((SIDE, SIDE)) * NOISE_JY
    for name, flux_jy in sources.items():
        x, y = wcs.all_world2pix(*position_of(name), 0)
        data[round(float(y)), round(float(x))] += flux_jy
    header = wcs.to_header()
    header["BUNIT"] = "Jy/beam"
    header["BMAJ"], header["BMIN"], header["BPA"] = 20 / 3600, 14 / 3600, 30.0
    fits.PrimaryHDU(data.astype(np.float32)[None, None], header=header).writeto(path)
    return wcs


@dataclass(frozen=True, kw_only=True)
class Night:
    """The rows of one night."""

    observation: Observation
    calibration: Calibration
    image: Product


def make_nights(root: Path) -> list[Night]:
    """Make both nights below a data root, the older first."""
    return [make_night(root / f"night-{index}", index) for index in range(2)]


def make_night(place: Path, index: int) -> Night:
    """Make one night: an observation, its calibration with a summary, an image with its files, and fluxes."""
    place.mkdir(parents=True)
    tile = make_tile(f"2026-10-0{index + 1}T06:00:00", mid_mjd=MJD + index)
    observation = tile.observation
    task_id, run_id = uuid.uuid4(), uuid.uuid4()
    Observation.objects.filter(pk=observation.pk).update(run_id=run_id, state="started", role="target")
    observation.refresh_from_db()
    origin = {"attempt": 1, "observation": observation, "run_id": run_id}
    calibration = make_calibration(place, observation)
    calibrated = Product.objects.create(
        **origin,
        task_id=uuid.uuid4(),
        task_name="calibrate-target",
        kind="calibrated-ms",
        path=str(place / "tile.ms"),
        size_bytes=4_000_000,
        verdict="pass",
        params={"calibration_path": calibration.path},
        metrics={"flagged_fraction": 0.125, "n_subbands": 15, "missing_subbands": [5]},
    )
    write_image(place / "a.fits", {name: FLUXES_JY[name][index] for name in NAMES}, seed=index)
    image = Product.objects.create(
        **origin, task_id=task_id, task_name="imaging", kind="image", path=str(place / "a.fits"), size_bytes=60_480,
        verdict=("pass", "warn")[index], metrics=IMAGE_METRICS, inputs=[calibrated.path],
    )  # fmt: skip
    for kind in ("preview", "thumbnail"):
        (place / f"{kind}.png").write_bytes(PNG)
        Product.objects.create(
            **origin,
            task_id=task_id,
            task_name="imaging",
            kind=kind,
            path=str(place / f"{kind}.png"),
            metrics={"frame": FRAME.model_dump(mode="json")} if kind == "preview" else {},
        )
    measure(observation, image, index)
    return Night(observation=observation, calibration=calibration, image=image)


def measure(observation: Observation, image: Product, index: int) -> None:
    """Make a flux of each source."""
    task_id = uuid.uuid4()
    for name in NAMES:
        ra_deg, dec_deg = position_of(name)
        Measurement.objects.create(
            task_id=task_id, observation=observation, image_path=image.path, name=name, mid_mjd=observation.mid_mjd,
            ra_deg=ra_deg, dec_deg=dec_deg, freq_hz=1.405e9, flux_jy=FLUXES_JY[name][index], flux_err_jy=2e-3,
            snr=150.0, catalog_flux_jy=FLUXES_JY[name][0], local_rms_jy=NOISE_JY, primary_beam=0.9,
            verdict=image.verdict,
        )  # fmt: skip
    Product.objects.create(
        task_id=task_id, attempt=1, task_name="photometry", observation=observation, run_id=observation.run_id,
        kind="photometry", path=f"{image.path}.csv", verdict=image.verdict, metrics={"n_measured": len(NAMES)},
    )  # fmt: skip


def make_calibration(place: Path, observation: Observation) -> Calibration:
    """Make a calibration of three antennas, the last of which has no data."""
    directory = place / "tile.cal"
    directory.mkdir()
    (directory / SUMMARY_NAME).write_text(make_summary().model_dump_json())
    task_id = uuid.uuid4()
    Product.objects.create(
        task_id=task_id, attempt=1, task_name="calibration-solve", observation=observation, kind="calibration",
        path=str(directory), verdict="pass", metrics={"antennas_without_data": ["9"], "n_antennas": 2,
        "n_antennas_solved": 2, "flagged_solutions": 0.25, "calibrator": "3C48"},
    )  # fmt: skip
    return Calibration.objects.create(
        task_id=task_id, observation=observation, path=str(directory), telescope_name="OVRO_MMA",
        mid_mjd=observation.mid_mjd - 0.02, declination_deg=observation.declination_deg, calibrator="3C48", refant="5",
        snr_median=120.0, flagged_solutions=0.25, verdict="pass",
    )  # fmt: skip


def make_summary() -> SolutionsSummary:
    """Return solutions of 16 subbands for antennas 5, 7 and 9."""
    good = {
        "amplitude": [[1.0] * 16, [1.1] * 16],
        "phase_deg": [[0.0] * 16, [20.0] * 16],
        "flagged": [0.0] * 15 + [0.5],
    }
    none: dict[str, list[list[float | None]]] = {"amplitude": [[None] * 16] * 2, "phase_deg": [[None] * 16] * 2}
    return SolutionsSummary(
        refant="5",
        freq_ghz=[1.49 - 0.0117 * k for k in range(16)],
        antennas=[
            AntennaSummary(name="5", delay_ns=[0.0, 0.0], snr=[100.0, 90.0], **good),
            AntennaSummary(name="7", delay_ns=[3.25, -4.5], snr=[80.0, 70.0], **good),
            AntennaSummary(name="9", delay_ns=[None, None], snr=[None, None], flagged=[1.0] * 16, **none),
        ],
    )


def addresses(night: Night) -> dict[str, str]:
    """Return where each page of the telescope is, for a night's rows."""
    image, calibration = night.image.pk, night.calibration.pk
    flux = Measurement.objects.first()
    assert flux is not None
    return {
        "observations": reverse("admin:pipeline_app_observation_changelist"),
        "tile": reverse("admin:pipeline_app_observation_change", args=[night.observation.pk]),
        "images": reverse("admin:page_images"),
        "image": reverse("admin:page_image", args=[image]),
        "viewer": reverse("admin:page_viewer", args=[image]),
        "calibrations": reverse("admin:pipeline_app_calibration_changelist"),
        "calibration": reverse("admin:pipeline_app_calibration_change", args=[calibration]),
        "sources": reverse("admin:page_sources"),
        "source": f"{reverse('admin:page_source')}?name=S01",
        "storage": reverse("admin:page_storage"),
        "products": reverse("admin:pipeline_app_product_changelist"),
        "product": reverse("admin:pipeline_app_product_change", args=[image]),
        "fluxes": reverse("admin:pipeline_app_measurement_changelist"),
    }
