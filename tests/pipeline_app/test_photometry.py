from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from pydantic import ValidationError
from scipy.signal import fftconvolve

from pipeline_app import verdicts
from pipeline_app.stages.photometry import PhotometryParams, PhotometryResult, Position
from tasks_app.engine.handler import InvalidInput
from tasks_app.testing import LocalContext

pytestmark = pytest.mark.casa

SIZE, CELL_ARCSEC, RMS_JY = 1000, 6.0, 1e-3
MAJOR_ARCSEC, MINOR_ARCSEC, PA_DEG = 60.0, 36.0, 25.0
RA0_DEG, DEC0_DEG = 144.0, 54.6


def header() -> fits.Header:
    cards = {
        "CTYPE1": "RA---SIN", "CRVAL1": RA0_DEG, "CRPIX1": SIZE / 2, "CDELT1": -CELL_ARCSEC / 3600, "CUNIT1": "deg",
        "CTYPE2": "DEC--SIN", "CRVAL2": DEC0_DEG, "CRPIX2": SIZE / 2, "CDELT2": CELL_ARCSEC / 3600, "CUNIT2": "deg",
        "CTYPE3": "FREQ", "CRVAL3": 1.405e9, "CRPIX3": 1.0, "CDELT3": 1e8, "CUNIT3": "Hz",
        "BMAJ": MAJOR_ARCSEC / 3600, "BMIN": MINOR_ARCSEC / 3600, "BPA": PA_DEG, "BUNIT": "Jy/beam",
        "RADESYS": "ICRS",
    }  # fmt: skip
    made = fits.Header(cards)
    verdicts.to_cards(verdicts.VerdictRecord(stage="imaging", verdict="pass"), made)
    return made


WHOLE = (slice(0, SIZE), slice(0, SIZE))


def beam_at(x: float, y: float, window: tuple[slice, slice] = WHOLE) -> np.ndarray:
    """The restoring beam written out on its own: position angle from north (up) to east (left)."""
    rows, columns = np.mgrid[window]
    dx, dy = columns - x, rows - y
    angle = np.radians(PA_DEG)
    along, across = -dx * np.sin(angle) + dy * np.cos(angle), dx * np.cos(angle) + dy * np.sin(angle)
    fwhm = 2.354820045
    return np.exp(
        -0.5 * ((along * fwhm * CELL_ARCSEC / MAJOR_ARCSEC) ** 2 + (across * fwhm * CELL_ARCSEC / MINOR_ARCSEC) ** 2)
    )


def response_at(x: float | np.ndarray, y: float | np.ndarray) -> np.ndarray:
    return np.exp(-((x - SIZE / 2) ** 2 + (y - SIZE / 2) ** 2) / (2 * 220.0**2))


def response() -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return response_at(columns, rows)


class Sky:
    """Images of point sources in noise that is correlated over the beam, as they come from the imaging stage."""

    def __init__(self, directory: Path, *, seed: int | None = 1) -> None:
        self.directory = directory
        self.pb = response()
        self.flat = np.zeros((SIZE, SIZE))
        if seed is not None:
            white = np.random.default_rng(seed).standard_normal((SIZE, SIZE))
            noise = fftconvolve(white, beam_at(SIZE // 2, SIZE // 2), mode="same")
            self.flat = noise * RMS_JY / noise.std()
        self.positions: list[Position] = []

    def add(self, x: float, y: float, flux_jy: float, *, shift_pix: float = 0.0) -> None:
        from astropy.wcs import WCS

        pb = response_at(x, y)
        half = 60
        window = tuple(slice(max(0, at - half), min(SIZE, at + half)) for at in (round(y), round(x)))
        self.flat[window] += flux_jy * pb * beam_at(x + shift_pix, y, window)
        ra, dec = WCS(header()).celestial.all_pix2world(x, y, 0)
        self.positions.append(
            Position(name=f"S{len(self.positions)}", ra_deg=float(ra) % 360, dec_deg=float(dec), flux_jy=flux_jy)
        )

    def write(self) -> dict[str, str]:
        corrected = np.where(self.pb >= 0.1, self.flat / self.pb, np.nan)
        planes = {"image": corrected, "flat_image": self.flat, "pb": self.pb}
        for name, plane in planes.items():
            fits.PrimaryHDU(plane[None].astype(np.float32), header()).writeto(self.directory / f"{name}.fits")
        return {f"{name}_path": str(self.directory / f"{name}.fits") for name in planes}

    def measure(self, **params: object) -> PhotometryResult:
        from pipeline_app.casa.photometry import run

        return run(
            PhotometryParams(**{"positions": self.positions, **self.write(), **params}),
            LocalContext(self.directory / "run"),
        )


def test_fluxes_without_noise_are_exact(tmp_path: Path) -> None:
    sky = Sky(tmp_path, seed=None)
    sky.flat += 1e-9 * np.random.default_rng(0).standard_normal(sky.flat.shape)
    sky.add(500.0, 500.0, 1.0)
    sky.add(640.3, 420.7, 0.25)
    first, second = sky.measure().measurements
    assert first.flux_jy == pytest.approx(1.0, rel=1e-5)
    assert second.flux_jy == pytest.approx(0.25, rel=1e-3)
    assert second.offset_arcsec == pytest.approx(0.0, abs=0.01)
    assert second.primary_beam == pytest.approx(float(response_at(640.3, 420.7)), rel=1e-4)


def test_errors_are_the_scatter_of_the_fluxes(tmp_path: Path) -> None:
    sky = Sky(tmp_path)
    places = [(x, y) for x in range(200, 801, 60) for y in range(200, 801, 60)]
    rng = np.random.default_rng(4)
    for x, y in places:
        sky.add(x + rng.uniform(-0.5, 0.5), y + rng.uniform(-0.5, 0.5), 0.02)
    result = sky.measure()
    chi = np.array([(m.flux_jy - 0.02) / m.flux_err_jy for m in result.measurements])
    assert len(chi) == len(places) == 121
    assert abs(chi.mean()) < 0.35
    assert 0.8 < chi.std() < 1.2


def test_bright_sources_carry_an_error_in_proportion(tmp_path: Path) -> None:
    sky = Sky(tmp_path)
    sky.add(500.0, 500.0, 5.0)
    bright = sky.measure(fractional_error=0.03).measurements[0]
    assert bright.flux_err_jy == pytest.approx(0.15, rel=0.02)
    assert bright.snr > 2000


def test_neighbours_are_fitted_together(tmp_path: Path) -> None:
    sky = Sky(tmp_path)
    sky.add(500.0, 500.0, 1.0)
    sky.add(508.0, 503.0, 0.3)
    sky.add(300.0, 300.0, 0.3)
    strong, weak, alone = sky.measure().measurements
    assert strong.flux_jy == pytest.approx(1.0, abs=0.01)
    assert weak.flux_jy == pytest.approx(0.3, abs=0.01)
    # what a blend costs shows in the error
    assert weak.snr / weak.flux_jy / weak.primary_beam < 0.98 * alone.snr / alone.flux_jy / alone.primary_beam


def test_a_source_beside_its_position_is_found_by_the_free_fit(tmp_path: Path) -> None:
    sky = Sky(tmp_path)
    sky.add(450.0, 520.0, 1.0, shift_pix=1.5)
    result = sky.measure()
    assert result.measurements[0].offset_arcsec == pytest.approx(1.5 * CELL_ARCSEC, abs=0.3)
    assert result.offset_median_arcsec == result.measurements[0].offset_arcsec


def test_nothing_there_is_measured_as_nothing(tmp_path: Path) -> None:
    sky = Sky(tmp_path)
    sky.positions.append(Position(name="empty", ra_deg=RA0_DEG, dec_deg=DEC0_DEG))
    empty = sky.measure().measurements[0]
    assert abs(empty.snr) < 4
    assert empty.offset_arcsec is None
    assert empty.catalog_flux_jy is None


def test_positions_outside_are_counted_and_the_rest_keep_their_order(tmp_path: Path) -> None:
    sky = Sky(tmp_path)
    sky.add(600.0, 500.0, 0.5)
    sky.positions[:0] = [
        Position(name="other side of the sky", ra_deg=RA0_DEG + 180, dec_deg=-DEC0_DEG),
        Position(name="beyond the edge", ra_deg=RA0_DEG, dec_deg=DEC0_DEG + 1.2),
        Position(name="in the null", ra_deg=RA0_DEG, dec_deg=DEC0_DEG + 0.81),
    ]
    sky.add(400.0, 500.0, 0.7)
    result = sky.measure()
    assert result.n_outside == 3
    assert [m.name for m in result.measurements] == ["S0", "S4"]
    assert "NaN" not in result.model_dump_json()


def test_a_fit_that_would_not_lie_wholly_in_the_image_is_no_measurement(tmp_path: Path) -> None:
    """The beam is ten pixels wide, and a fit needs one beam on every side."""
    sky, last = Sky(tmp_path), SIZE - 1
    for inside in (10.1, last - 10.1):
        sky.add(inside, 500.0, 2.0)
        sky.add(500.0, inside, 2.0)
    for outside in (0.0, 9.9, last - 9.9, last - 0.0):
        sky.add(outside, 400.0, 2.0)
        sky.add(400.0, outside, 2.0)
    sky.add(-1.0, 600.0, 2.0)
    result = sky.measure(min_primary_beam=0.05)
    assert [m.name for m in result.measurements] == ["S0", "S1", "S2", "S3"]
    assert (result.n_outside, result.n_at_edge) == (9, 8)
    for found in result.measurements:
        assert abs(found.flux_jy - 2.0) < 4 * found.flux_err_jy


def test_a_neighbour_at_the_edge_is_fitted_but_not_reported(tmp_path: Path) -> None:
    sky = Sky(tmp_path)
    sky.add(4.0, 500.0, 10.0)
    sky.add(11.0, 500.0, 2.0)
    result = sky.measure(min_primary_beam=0.05)
    assert ([m.name for m in result.measurements], result.n_at_edge) == (["S1"], 1)
    assert abs(result.measurements[0].flux_jy - 2.0) < 4 * result.measurements[0].flux_err_jy


def test_positions_at_the_edge_alone_are_a_failed_verdict(tmp_path: Path) -> None:
    sky = Sky(tmp_path)
    sky.add(500.0, 5.0, 2.0)
    result = sky.measure(min_primary_beam=0.05)
    assert (result.verdict, result.measurements) == ("fail", [])
    assert result.reasons[0].endswith("(1 at the image's edge, nearer than the fit needs)")


def test_all_positions_outside_is_a_failed_verdict(tmp_path: Path) -> None:
    sky = Sky(tmp_path)
    sky.positions.append(Position(name="far", ra_deg=10.0, dec_deg=0.0))
    result = sky.measure()
    assert result.measurements == []
    assert result.verdict == "fail"
    assert result.flux_ratio_median is None


def test_any_two_of_the_three_images_will_do(tmp_path: Path) -> None:
    fluxes = []
    for without in ("none", "flat_image_path", "pb_path"):
        directory = tmp_path / without
        directory.mkdir()
        sky = Sky(directory)
        sky.add(430.0, 560.0, 0.4)
        fluxes.append(sky.measure(**({without: None} if without != "none" else {})).measurements[0].flux_jy)
    assert fluxes[1] == pytest.approx(fluxes[0], rel=1e-4)
    assert fluxes[2] == pytest.approx(fluxes[0], rel=1e-4)
    with pytest.raises(ValidationError, match="flat_image_path, pb_path, or both"):
        PhotometryParams(image_path="a.fits", positions=[Position(name="a", ra_deg=0, dec_deg=0)])


def test_fluxes_are_brought_to_the_frequency_asked_for(tmp_path: Path) -> None:
    sky = Sky(tmp_path, seed=None)
    sky.flat += 1e-9 * np.random.default_rng(0).standard_normal(sky.flat.shape)
    sky.add(500.0, 500.0, 1.0)
    result = sky.measure(reference_freq_hz=3e9, spectral_index=-0.7)
    assert result.measurements[0].flux_jy == pytest.approx((3e9 / 1.405e9) ** -0.7, rel=1e-4)


def test_the_csv_holds_the_same_measurements(tmp_path: Path) -> None:
    sky = Sky(tmp_path)
    sky.add(500.0, 500.0, 0.5)
    sky.positions.append(Position(name="empty", ra_deg=RA0_DEG + 0.4, dec_deg=DEC0_DEG))
    result = sky.measure()
    with Path(result.photometry_path).open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["name"] for row in rows] == ["S0", "empty"]
    assert float(rows[0]["flux_jy"]) == result.measurements[0].flux_jy
    assert rows[1]["catalog_flux_jy"] == ""


def test_a_catalogue_adds_its_positions(tmp_path: Path) -> None:
    sky = Sky(tmp_path)
    sky.add(500.0, 500.0, 0.5)
    (tmp_path / "c.csv").write_text(f"name,ra_deg,dec_deg,flux_jy\nC1,{RA0_DEG + 0.3},{DEC0_DEG},0.1\n")
    result = sky.measure(catalog_path=str(tmp_path / "c.csv"))
    assert [m.name for m in result.measurements] == ["S0", "C1"]


def test_what_is_no_image_is_invalid_input(tmp_path: Path) -> None:
    sky = Sky(tmp_path)
    sky.positions.append(Position(name="a", ra_deg=RA0_DEG, dec_deg=DEC0_DEG))
    (tmp_path / "text.fits").write_text("not FITS")
    with pytest.raises(InvalidInput, match="cannot be read as FITS"):
        sky.measure(image_path=str(tmp_path / "text.fits"))


def test_images_of_different_size_are_invalid_input(tmp_path: Path) -> None:
    sky = Sky(tmp_path)
    sky.positions.append(Position(name="a", ra_deg=RA0_DEG, dec_deg=DEC0_DEG))
    fits.PrimaryHDU(np.ones((1, 50, 50), dtype=np.float32), header()).writeto(tmp_path / "small.fits")
    with pytest.raises(InvalidInput, match="different size"):
        sky.measure(pb_path=str(tmp_path / "small.fits"))


@pytest.mark.casa
def test_a_dirty_image_is_known_between_pixels_up_to_the_fringes_of_the_longest_baseline() -> None:
    """An even mixture of the finest fringes that the pixel holds: a spline of fifth order is off by more than 1 %."""
    from scipy.ndimage import map_coordinates

    from pipeline_app.casa.dirty_fit import between_pixels
    from pipeline_app.casa.fits_images import NYQUIST_MARGIN

    rng = np.random.default_rng(8)
    u, v = rng.uniform(-1, 1, (2, 200)) / NYQUIST_MARGIN
    phase = rng.uniform(0, 2 * np.pi, 200)

    def exact(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.cos(2 * np.pi * (u * x[..., None] + v * y[..., None]) + phase).mean(axis=-1) * np.sqrt(400)

    y, x = np.mgrid[:128, :128].astype(float)
    plane = exact(x, y).astype(np.float32)
    places = rng.uniform(40, 88, (2, 50))
    wanted = exact(*places)
    assert np.abs(between_pixels(plane, *places) - wanted).max() < 2e-3
    assert np.abs(map_coordinates(plane.astype(float), places[::-1], order=5) - wanted).max() > 0.01
    corner = between_pixels(plane, np.array([0.0, -50.0]), np.array([0.0, 3.0]))
    np.testing.assert_allclose(corner, [plane[0, 0], 0.0], atol=1e-5)
