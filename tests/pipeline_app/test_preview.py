from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from pipeline_app.preview_frame import PreviewFrame

pytestmark = pytest.mark.casa


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, PreviewFrame, WCS]:
    """The preview of a sky with one source a quarter in from the top left, where the sky lies in it, and its pixels."""
    from matplotlib.image import imread

    from pipeline_app.casa.fits_images import Beam, SkyImage
    from pipeline_app.casa.plots import Preview, draw_preview

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [144.0, 54.6], [201, 201], [-0.002, 0.002]
    y, x = np.mgrid[:400, :400]
    source = np.exp(-((x - 100) ** 2 + (y - 300) ** 2) / (2 * 5.0**2))
    noise = np.random.default_rng(1).standard_normal((400, 400))
    image = SkyImage(
        data=1e-3 * noise + 0.5 * source,
        header=fits.Header(),
        wcs=wcs,
        beam=Beam(major_arcsec=80.0, minor_arcsec=40.0, pa_deg=30.0),
    )
    response = np.exp(-((x - 200) ** 2 + (y - 200) ** 2) / (2 * 150.0**2))
    path: Path = tmp_path_factory.mktemp("preview") / "preview.png"
    preview = Preview(image=image, response=response, rms_jy=1e-3, title="tile", subtitle="1.4 GHz")
    frame = draw_preview(preview, path)
    return imread(path)[..., :3], frame, wcs


@pytest.fixture(scope="module")
def pixels(drawn: tuple[np.ndarray, PreviewFrame, WCS]) -> np.ndarray:
    return drawn[0]


def test_the_recorded_frame_leads_from_the_position_of_the_source_to_its_pixels(drawn) -> None:
    pixels, frame, wcs = drawn
    assert (frame.height_px, frame.width_px) == pixels.shape[:2]
    place = frame.place(*(float(value) for value in wcs.all_pix2world(100, 300, 0)))
    sky = pixels[110:700, 125:860].sum(axis=2)  # above the drawn beam
    rows, columns = np.nonzero(sky > 2.6)
    assert place is not None
    assert place == pytest.approx((125 + columns.mean() + 0.5, 110 + rows.mean() + 0.5), abs=1.5)


def test_it_is_a_page_of_fixed_size(pixels: np.ndarray) -> None:
    assert pixels.shape == (920, 1000, 3)


def test_the_source_is_bright_where_it_is_and_the_sky_is_dark(pixels: np.ndarray) -> None:
    # the sky fills 0.12..0.87 of the width and is centred in 0.07..0.89 of the height
    sky = pixels[int(920 * (1 - 0.89)) : int(920 * (1 - 0.07)), 120:870].sum(axis=2)
    assert np.median(sky) < 0.9
    rows, columns = np.nonzero(sky > 2.4)
    near = (np.abs(columns - 0.25 * 750) < 30) & (np.abs(rows - 0.25 * 754) < 30)
    assert near.sum() > 100


def test_the_beam_is_drawn_at_the_lower_left(pixels: np.ndarray) -> None:
    corner = pixels[780:855, 120:200]
    ink = np.all(np.abs(corner - np.array([0xE8, 0xED, 0xF4]) / 255) < 0.05, axis=2)
    # 80 x 40 arcsec at 7.2 a pixel of sky, which is 1.88 pixels of the page
    expected = np.pi / 4 * (80 / 7.2 * 1.88) * (40 / 7.2 * 1.88)
    assert ink.sum() == pytest.approx(expected, rel=0.25)


def test_the_colour_bar_runs_from_dark_to_light(pixels: np.ndarray) -> None:
    bar = pixels[:, 900]
    assert bar[840].sum() < 0.6
    assert bar[160].sum() > 2.2


def test_ticks_of_the_colour_bar_are_round_numbers_inside_it() -> None:
    from pipeline_app.casa.plots import _ticks

    ticks = _ticks(-2.6, 52.0)
    assert ticks[:2] == [-2.0, 0.0]
    assert ticks == sorted(ticks)
    assert max(ticks) == 50.0


def test_the_thumbnail_shows_the_source_where_it_is(tmp_path: Path) -> None:
    from matplotlib.image import imread

    from pipeline_app.casa.fits_images import Beam, SkyImage
    from pipeline_app.casa.plots import Preview, draw_thumbnail

    data = np.zeros((600, 600))
    data[450, 150] = 0.5
    beam = Beam(major_arcsec=80.0, minor_arcsec=40.0, pa_deg=30.0)
    image = SkyImage(data=data, header=fits.Header(), wcs=WCS(naxis=2), beam=beam)
    path = tmp_path / "small.png"
    draw_thumbnail(Preview(image=image, response=data, rms_jy=1e-3, title="", subtitle=""), path)
    small = imread(path)[..., :3].sum(axis=2)
    assert small.shape == (200, 200)
    assert np.unravel_index(small.argmax(), small.shape) == (200 - 1 - 450 // 3, 150 // 3)
