"""Where positions lie in a picture, compared with astropy."""

from __future__ import annotations

import math

import pytest
from astropy.wcs import WCS

from pipeline_app.preview_frame import PreviewFrame


@pytest.mark.parametrize(
    ("projection", "slant"), [("SIN", (0.0, 0.0)), ("SIN", (0.02, -0.3)), ("TAN", (0.0, 0.0))], ids=str
)
@pytest.mark.parametrize(("ra_deg", "dec_deg"), [(144.0, 54.6), (145.9, 55.5), (359.99, 16.1), (0.01, 15.2)])
def test_positions_are_those_of_astropy(projection: str, slant: tuple[float, float], ra_deg: float, dec_deg: float):
    centre = (144.5, 54.9) if ra_deg > 1 and ra_deg < 300 else (0.0, 16.0)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = centre, [151, 161], [-0.02, 0.02]
    if any(slant):
        wcs.wcs.set_pv([(2, 1, slant[0]), (2, 2, slant[1])])
    frame = PreviewFrame(
        width_px=1000, height_px=920, left=0.12, top=0.11, width=0.75, height=0.8, n_x=300, n_y=320,
        projection=projection, ra_deg=centre[0], dec_deg=centre[1], x_pix=150, y_pix=160, dx_deg=-0.02, dy_deg=0.02,
        slant=slant,
    )  # fmt: skip
    x, y = (float(value) for value in wcs.all_world2pix(ra_deg, dec_deg, 0))
    expected = (1000 * (0.12 + 0.75 * (x + 0.5) / 300), 920 * (0.11 + 0.8 * (1 - (y + 0.5) / 320)))
    assert frame.place(ra_deg, dec_deg) == pytest.approx(expected, abs=1e-6)


def test_a_position_outside_the_image_or_behind_has_no_place():
    frame = PreviewFrame(
        width_px=100, height_px=100, left=0, top=0, width=1, height=1, n_x=10, n_y=10, projection="SIN", ra_deg=10,
        dec_deg=0, x_pix=5, y_pix=5, dx_deg=-0.1, dy_deg=0.1,
    )  # fmt: skip
    assert frame.place(10, 0) is not None
    assert frame.place(12, 0) is None
    assert frame.place(190, 0) is None
    assert math.isfinite(sum(frame.place(10.4, 0.4) or (math.nan,)))
