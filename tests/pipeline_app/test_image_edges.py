"""Fluxes at the edge of an image, through the real imaging.

Size: an image of 960 pixels with sources of 300 times the noise a little more than a beam from its edges and in a
corner. Where CLEAN seeks no components in a border of 2 % (19 pixels), they come out 0.30 to 0.40 of 0.5 Jy, since
their sidelobes are cleaned instead. A border of 2 % of a small image is narrower than the beam, and shows nothing.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_app.stages.photometry import PhotometryParams, PhotometryResult, Position
from tasks_app.testing import LocalContext
from tests.pipeline_app.skies import Star, geometry, image, observe, write_images

pytestmark = pytest.mark.casa

FIELD_DEG, FLUX_JY, SIGMA_JY = 1.9, 0.5, 0.5


def measure_at(directory: Path, beams: float) -> PhotometryResult:
    """Image and measure six sources: four near the edges, one in a corner, one in the middle."""
    from pipeline_app.casa import photometry

    empty = geometry(48, n_channels=16, n_times=8)
    dirty, job = image(empty, directory, field_deg=FIELD_DEG, niter=0)
    away = beams * dirty.flat.beam.major_arcsec / job.grid.cell_arcsec
    side = job.grid.imsize_pix
    far = side - 1 - away
    places = [(away, 0.3 * side), (far, 0.6 * side), (0.62 * side, away), (0.28 * side, far), (away, away)]
    positions = [
        Position(name=str(n), ra_deg=float(ra) % 360, dec_deg=float(dec), flux_jy=FLUX_JY)
        for n, (ra, dec) in enumerate(dirty.flat.wcs.all_pix2world([*places, (0.53 * side, 0.49 * side)], 0))
    ]
    stars = [Star(ra_deg=p.ra_deg, dec_deg=p.dec_deg, flux_jy=FLUX_JY) for p in positions]
    cleaned, job = image(observe(empty, stars, sigma_jy=SIGMA_JY), directory, field_deg=FIELD_DEG)
    assert 0.02 * side > 1.5 * away
    paths = write_images(cleaned, job, directory / "images")
    return photometry.run(PhotometryParams(positions=positions, **paths), LocalContext(directory / "measured"))


def test_sources_a_beam_from_the_edge_have_their_fluxes(tmp_path: Path) -> None:
    result = measure_at(tmp_path, beams=1.1)
    assert (len(result.measurements), result.n_outside) == (6, 0)
    for found in result.measurements:
        assert abs(found.flux_jy - FLUX_JY) < 4 * found.flux_err_jy, found
        assert found.flux_err_jy < 0.01 * FLUX_JY


def test_sources_nearer_to_the_edge_are_outside_and_take_nothing_from_the_others(tmp_path: Path) -> None:
    result = measure_at(tmp_path, beams=0.5)
    assert (len(result.measurements), result.n_outside, result.n_at_edge) == (1, 5, 5)
    assert abs(result.measurements[0].flux_jy - FLUX_JY) < 4 * result.measurements[0].flux_err_jy
