from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from pipeline_app import telescope
from pipeline_app.simulation import TINY, Source, simulate_tile, tile_pair
from pipeline_app.simulation.geometry import pointing_icrs_deg
from pipeline_app.stages.convert import ConvertParams
from pipeline_app.stages.imaging import ImagingParams
from tasks_app.engine.handler import InvalidInput
from tasks_app.testing import LocalContext
from tests.pipeline_app.reduced_tile import NOW, Reduced
from tests.pipeline_app.skies import phasors
from tests.pipeline_app.tiles import PERFECT_GAINS

pytestmark = pytest.mark.casa


def brightest(reduced: Reduced) -> Source:
    return max(reduced.target_truth.sources, key=lambda source: source.flux_jy)


def value_at(path: str, ra_deg: float, dec_deg: float) -> float:
    from pipeline_app.casa.fits_images import read_image

    image = read_image(path)
    x, y = image.wcs.all_world2pix(ra_deg, dec_deg, 0)
    around = image.data[round(float(y)) - 1 : round(float(y)) + 2, round(float(x)) - 1 : round(float(x)) + 2]
    return float(around.max())


def test_a_source_off_centre_is_where_it_was_put_and_not_mirrored(reduced: Reduced) -> None:
    source = brightest(reduced)
    truth = reduced.target_truth
    assert value_at(reduced.imaged.image_path, source.ra_deg, source.dec_deg) == pytest.approx(source.flux_jy, rel=0.1)
    for sign_ra, sign_dec in ((-1, -1), (-1, 1), (1, -1)):
        ra_deg = truth.pointing_ra_deg + sign_ra * (source.ra_deg - truth.pointing_ra_deg)
        dec_deg = truth.pointing_dec_deg + sign_dec * (source.dec_deg - truth.pointing_dec_deg)
        assert abs(value_at(reduced.imaged.flat_image_path, ra_deg, dec_deg)) < 6 * reduced.imaged.rms_jy


def test_the_noise_is_what_the_visibilities_promise(reduced: Reduced) -> None:
    assert reduced.imaged.verdict == "pass", reduced.imaged.reasons
    assert 0.8 < reduced.imaged.rms_jy / reduced.imaged.thermal_rms_jy < 1.5
    # Briggs weights cannot beat natural ones
    assert reduced.imaged.thermal_rms_jy > 0.98 * reduced.target_truth.thermal_rms_jy


def test_the_headers_describe_the_images(reduced: Reduced) -> None:
    header = fits.getheader(reduced.imaged.image_path)
    assert header["BUNIT"] == "Jy/beam"
    assert header["BMAJ"] * 3600 == pytest.approx(reduced.imaged.beam_major_arcsec)
    assert header["CTYPE1"].startswith("RA---SIN")
    frequency = next(n for n in range(1, header["NAXIS"] + 1) if header[f"CTYPE{n}"] == "FREQ")
    assert header[f"CRVAL{frequency}"] == telescope.REFERENCE_FREQ_HZ
    assert fits.getheader(reduced.imaged.flat_image_path)[f"CRVAL{frequency}"] == pytest.approx(
        reduced.imaged.effective_freq_hz
    )


def test_the_corrected_image_is_the_flat_one_over_the_response(reduced: Reduced) -> None:
    image, flat, response = (
        np.squeeze(fits.getdata(path))
        for path in (reduced.imaged.image_path, reduced.imaged.flat_image_path, reduced.imaged.pb_path)
    )
    inside = response > 0.2
    np.testing.assert_allclose(image[inside] * response[inside], flat[inside], rtol=1e-4, atol=1e-7)
    assert np.isnan(image[response < 0.09]).all()


def test_the_response_is_what_a_drifting_beam_does_to_a_source(tmp_path: Path) -> None:
    from pipeline_app.casa import convert, measurement_set
    from pipeline_app.casa.model import PointModel, PointSource, direction_cosines
    from pipeline_app.casa.pointing import beam_track
    from pipeline_app.casa.response import beam_towards
    from pipeline_app.casa.stokes import imaging_weights, read_stokes_i

    base = tile_pair(NOW, TINY)[1]
    ra0_deg, dec0_deg = pointing_icrs_deg(base.declination_deg, base.mid_time)
    source = Source(name="s", ra_deg=ra0_deg + 1.5, dec_deg=dec0_deg - 0.7, flux_jy=2.0, alpha=-0.7)
    spec = dataclasses.replace(
        base, sources=(source,), subbands=(0, 7, 15), n_antennas=5, gains=PERFECT_GAINS, sefd_jy=0.0
    )
    truth = simulate_tile(tmp_path / "raw", spec)
    paths = [str(tmp_path / "raw" / name) for name in truth.files]
    info = measurement_set.read_info(convert.run(ConvertParams(paths=paths), LocalContext(tmp_path)).ms_path)
    track = beam_track(info)
    assert track.drifting
    rows = next(measurement_set.iter_rows(info))
    good = ~rows.flag.any(axis=2) & rows.cross[:, None]
    lmn = direction_cosines(source.ra_deg, source.dec_deg, info)
    towards = (rows.columns["DATA"].mean(axis=2) * phasors(rows.uvw_m, lmn, info.freqs_hz).conj())[good]
    weights = imaging_weights(read_stokes_i(info), robust=2.0, field_rad=0.04)
    response = beam_towards(
        np.array([source.ra_deg]), np.array([source.dec_deg]), info, track, weights, spectral_index=-0.7
    )
    assert 0.3 < response[0] < 0.7
    assert towards.mean().real / response[0] == pytest.approx(source.flux_jy, rel=2e-3)
    point = PointSource(name="s", ra_deg=source.ra_deg, dec_deg=source.dec_deg, flux_jy=2.0, alpha=-0.7)
    model = PointModel([point], info, track).visibilities(rows)
    np.testing.assert_allclose(model[good], rows.columns["DATA"][..., 0][good], atol=5e-3)


def test_an_image_that_would_fill_the_memory_is_refused(reduced: Reduced, tmp_path: Path) -> None:
    from pipeline_app.casa.imaging import run

    with pytest.raises(InvalidInput, match="too large"):
        run(ImagingParams(ms_path=reduced.applied.ms_path, cell_arcsec=0.5), LocalContext(tmp_path))


def test_data_that_are_all_flagged_are_refused(reduced: Reduced, tmp_path: Path) -> None:
    from pipeline_app.casa import measurement_set
    from pipeline_app.casa.imaging import run

    shutil.copytree(reduced.applied.ms_path, tmp_path / "flagged.ms")
    with measurement_set.open_table(tmp_path / "flagged.ms", write=True) as main:
        main.putcol("FLAG_ROW", np.ones(main.nrows(), dtype=bool))
    with pytest.raises(InvalidInput, match="all data are flagged"):
        run(ImagingParams(ms_path=str(tmp_path / "flagged.ms")), LocalContext(tmp_path / "run"))


@pytest.mark.parametrize(("at_least", "size"), [(64, 64), (65, 72), (1001, 1024), (1321, 1350), (7, 8)])
def test_sizes_are_even_and_quick_to_transform(at_least: int, size: int) -> None:
    from pipeline_app.casa.fits_images import fast_size

    assert fast_size(at_least) == size
