from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipeline_app import telescope
from tests.pipeline_app.skies import Star, geometry, image, observe, phasors

pytestmark = pytest.mark.casa


def test_the_gridder_and_the_measurement_equation_agree_beyond_a_degree_with_the_sign_of_w() -> None:
    """All 96 stations: with 28 the sign of w is not seen (a flux changes by 2e-4); here it turns the phase about."""
    from pipeline_app.casa.fits_images import Grid
    from pipeline_app.casa.gridding import Gridder
    from pipeline_app.casa.stokes import imaging_weights

    data = geometry(96, n_channels=8, n_times=2, step=7)
    assert np.linalg.norm(data.uvw_m, axis=1).max() > 2200.0
    grid = Grid(imsize_pix=1024, cell_arcsec=10.0)
    weights = imaging_weights(data, robust=0.5, field_rad=1024 * grid.cell_rad)
    gridder = Gridder(data, weights, grid)
    x, y = 150, 880  # 1.0 degree to the east, 1.0 to the north
    east, north = (512 - x) * grid.cell_rad, (y - 512) * grid.cell_rad
    lmn = np.array([east, north, np.sqrt(1 - east**2 - north**2) - 1])
    exact = phasors(data.uvw_m, lmn, data.info.freqs_hz)
    model = np.zeros((1024, 1024), np.float32)
    model[y, x] = 1.0
    assert np.abs(gridder.predict(model) - exact).max() < 2e-3
    wrong = phasors(data.uvw_m * [1, 1, -1], lmn, data.info.freqs_hz)
    assert np.abs(wrong - exact).max() > 1.0
    dirty = gridder.image(exact)
    assert np.unravel_index(dirty.argmax(), dirty.shape) == (y, x)
    assert dirty[y, x] == pytest.approx(1.0, abs=1e-3)
    assert gridder.psf()[512, 512] == pytest.approx(1.0, abs=1e-3)


def test_weights_are_briggs_and_the_noise_is_that_of_the_image() -> None:
    from pipeline_app.casa.fits_images import Grid
    from pipeline_app.casa.gridding import Gridder
    from pipeline_app.casa.stokes import imaging_weights

    data = observe(geometry(40, n_channels=8, n_times=4), [], sigma_jy=2.0)
    natural = imaging_weights(data, robust=2.0, field_rad=0.03)
    briggs = imaging_weights(data, robust=0.0, field_rad=0.03)
    assert natural.thermal_rms_jy == pytest.approx(2.0 / np.sqrt(data.values.size), rel=0.02)
    assert briggs.thermal_rms_jy > 1.05 * natural.thermal_rms_jy
    dirty = Gridder(data, briggs, Grid(imsize_pix=512, cell_arcsec=8.0)).image(data.values)
    assert float(dirty.std()) == pytest.approx(briggs.thermal_rms_jy, rel=0.1)
    assert briggs.by_time_and_freq.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(
        briggs.by_time_and_freq.sum(axis=1),
        [briggs.samples[data.time_index == t].sum() / briggs.total for t in range(4)],
        rtol=1e-4,
    )


def test_each_weight_is_that_of_briggs_formula_and_flagged_data_have_none() -> None:
    from pipeline_app.casa.stokes import imaging_weights

    data = geometry(12, n_channels=4, n_times=3)
    rng = np.random.default_rng(4)
    natural = rng.uniform(0.5, 2.0, data.weight.shape).astype(np.float32)
    natural[rng.random(natural.shape) < 0.2] = 0
    data = dataclasses.replace(data, weight=natural)
    field_rad, robust = 0.03, 0.5
    weights = imaging_weights(data, robust=robust, field_rad=field_rad)
    wavelengths = data.uvw_m[:, None, :] * data.info.freqs_hz[:, None] / telescope.SPEED_OF_LIGHT_M_S
    cells = np.rint(wavelengths[..., :2] * field_rad).astype(int)
    size = int(np.abs(cells).max())
    density = np.zeros((2 * size + 1, 2 * size + 1))
    for sign in (1, -1):
        np.add.at(density, (sign * cells[..., 0] + size, sign * cells[..., 1] + size), natural)
    factor = (5 * 10.0**-robust) ** 2 * density.sum() / np.sum(density**2)
    expected = natural / (1 + density[cells[..., 0] + size, cells[..., 1] + size] * factor)
    np.testing.assert_allclose(weights.samples, expected, rtol=1e-5)
    assert weights.total == pytest.approx(expected.sum())
    there = natural > 0
    variance = np.sum(expected[there] ** 2 / natural[there])
    assert weights.thermal_rms_jy == pytest.approx(np.sqrt(variance) / expected.sum())
    assert weights.max_uv_wavelengths == pytest.approx(np.hypot(*wavelengths[there][:, :2].T).max())
    assert weights.max_w_wavelengths == pytest.approx(np.abs(wavelengths[there][:, 2]).max())


def test_stokes_i_is_the_mean_of_the_hands_or_the_one_that_is_there() -> None:
    from pipeline_app.casa.measurement_set import Rows
    from pipeline_app.casa.stokes import combine_hands

    visibilities = np.array([[[1 + 1j, 3 + 1j]] * 5, [[9, 9]] * 5], dtype=np.complex64)
    visibilities[0, 3, 0] = np.nan
    flag = np.zeros((2, 5, 2), bool)
    flag[0, 1, 0] = flag[0, 2] = True
    weight = np.full((2, 5, 2), 2.0, np.float32)
    weight[0, 4] = [1.0, 4.0]
    rows = Rows(
        start=0,
        antenna1=np.array([0, 1], np.int32),
        antenna2=np.array([1, 1], np.int32),
        time_index=np.zeros(2, np.intp),
        uvw_m=np.zeros((2, 3)),
        flag=flag,
        columns={"DATA": visibilities},
    )
    values, weights = combine_hands(rows, weight, [0, 1])
    np.testing.assert_allclose(values, [[2 + 1j, 3 + 1j, 0, 3 + 1j, 2 + 1j]])
    # both hands: 4 / (1/w_x + 1/w_y); one hand: its own
    np.testing.assert_allclose(weights, [[4.0, 2.0, 0.0, 2.0, 3.2]], rtol=1e-6)


def test_beam_terms_predict_what_a_drifting_beam_lets_through() -> None:
    """A whole tile and band: over less, the beam does not change enough to tell the mean from the truth."""
    from astropy.wcs import WCS

    from pipeline_app.casa.fits_images import Beam, Grid
    from pipeline_app.casa.gridding import BeamTerms, Gridder, beam_terms, predict_through_beam
    from pipeline_app.casa.pointing import beam_track
    from pipeline_app.casa.response import beam_towards
    from pipeline_app.casa.stokes import imaging_weights

    empty = geometry(24, n_channels=16, n_times=24)
    info, track = empty.info, beam_track(empty.info)
    grid = Grid(imsize_pix=1000, cell_arcsec=12.0)
    beam = Beam(major_arcsec=60.0, minor_arcsec=60.0, pa_deg=0.0)
    wcs = WCS(grid.header(info, 1.4e9, beam)).celestial
    x, y = 180, 700
    ra_deg, dec_deg = (float(v) for v in wcs.all_pix2world(x, y, 0))
    data = observe(empty, [Star(ra_deg=ra_deg, dec_deg=dec_deg, flux_jy=1.0)], sigma_jy=0.0)
    weights = imaging_weights(data, robust=0.5, field_rad=1000 * grid.cell_rad)
    mean = float(beam_towards(np.array([ra_deg]), np.array([dec_deg]), info, track, weights, spectral_index=-0.7)[0])
    model = np.zeros((1000, 1000), np.float32)
    model[y, x] = mean
    gridder = Gridder(data, weights, grid)
    terms = beam_terms(wcs, model.shape, info, track, weights, spectral_index=-0.7)

    def error(use: BeamTerms) -> float:
        return float(np.abs(predict_through_beam(gridder, model, use) - data.values).std()) / mean

    assert error(BeamTerms.none()) > 0.08
    assert error(terms) < 0.008
    counts = [len(terms.for_brightness(times).maps) for times in (0.9, 1.1, 3.0, 1000.0)]
    assert counts == [0, 1, 2, 3]
    # faint models need fewer terms: what a term left out costs falls with its strength
    errors = [error(terms.for_brightness(times)) for times in (1.1, 3.0)]
    assert 0.08 > errors[0] > errors[1]


def test_beam_terms_hold_at_the_edges_of_a_band_of_which_most_is_missing() -> None:
    from astropy.wcs import WCS

    from pipeline_app.casa.fits_images import Beam, Grid
    from pipeline_app.casa.gridding import beam_terms
    from pipeline_app.casa.pointing import beam_track
    from pipeline_app.casa.stokes import imaging_weights

    whole = geometry(12, n_channels=64, n_times=12)
    missing = np.ones(64, dtype=bool)
    missing[40:48] = False
    part = dataclasses.replace(whole, weight=np.where(missing, 0, whole.weight).astype(np.float32))
    info, grid = whole.info, Grid(imsize_pix=400, cell_arcsec=30.0)
    wcs = WCS(grid.header(info, 1.4e9, Beam(major_arcsec=60.0, minor_arcsec=60.0, pa_deg=0.0))).celestial
    weights = imaging_weights(part, robust=0.5, field_rad=400 * grid.cell_rad)
    terms = beam_terms(wcs, (400, 400), info, beam_track(info), weights, spectral_index=-0.7)
    first = np.abs(terms.by_time_and_freq[0][:, 40:48])
    np.testing.assert_allclose(
        first, np.broadcast_to(first.mean(axis=1, keepdims=True), first.shape), rtol=0.2, atol=0.05 * first.max()
    )


def test_the_pixel_is_a_fifth_of_the_fitted_beam_but_holds_the_longest_baseline(tmp_path: Path) -> None:
    data = observe(geometry(40, n_channels=16, n_times=6), [], sigma_jy=1.0)
    cleaned, job = image(data, tmp_path, field_deg=1.0, niter=0)
    # the longest baseline of these asks for a finer pixel than a fifth of the beam
    nyquist_arcsec = np.degrees(1 / (2.2 * job.weights.max_uv_wavelengths)) * 3600
    assert job.grid.cell_arcsec == pytest.approx(min(cleaned.flat.beam.minor_arcsec / 5, nyquist_arcsec), rel=0.02)
    natural, _ = image(data, tmp_path, field_deg=1.0, niter=0, robust=2.0)
    assert natural.flat.beam.minor_arcsec > cleaned.flat.beam.minor_arcsec
    assert cleaned.iterations == 0
    np.testing.assert_array_equal(cleaned.flat.data.astype(np.float32), cleaned.residual)
