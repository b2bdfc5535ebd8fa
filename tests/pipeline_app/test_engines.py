from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline_app.stages.imaging import ImagingParams
from tasks_app.engine.handler import InvalidInput
from tasks_app.testing import LocalContext
from tests.pipeline_app.reduced_tile import Reduced

pytestmark = pytest.mark.casa


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("wsclean", marks=pytest.mark.skipif(not shutil.which("wsclean"), reason="wsclean is not on PATH")),
        "tclean",
    ],
)
def test_other_engines_make_the_same_products_of_the_same_sky(reduced: Reduced, tmp_path: Path, engine: str) -> None:
    from pipeline_app.casa.fits_images import read_image, read_plane
    from pipeline_app.casa.imaging import run

    params = ImagingParams(
        ms_path=reduced.applied.ms_path, field_deg=2.2, cell_arcsec=10.0, correct_smearing=False, engine=engine
    )
    context = LocalContext(tmp_path)
    result = run(params, context)
    assert result.engine == engine
    assert result.iterations > 0
    assert {p.kind for p in context.products} >= {"image", "model-image", "residual-image", "point-spread-function"}
    psf = read_plane(result.psf_path)
    assert np.unravel_index(psf.argmax(), psf.shape) == (psf.shape[0] // 2, psf.shape[1] // 2)
    assert float(psf.max()) == pytest.approx(1.0, abs=0.01)
    source = max(reduced.target_truth.sources, key=lambda s: s.flux_jy)
    default = read_image(reduced.imaged.image_path)
    x, y = (round(float(v)) for v in default.wcs.all_world2pix(source.ra_deg, source.dec_deg, 0))
    window = (slice(y - 2, y + 3), slice(x - 2, x + 3))
    expected = np.nanmax(default.data[window])
    assert np.nanmax(read_image(result.image_path).data[window]) == pytest.approx(expected, rel=0.05)
    model = read_plane(result.model_path)
    assert model[y - 3 : y + 4, x - 3 : x + 4].sum() > 0.5 * model.sum() / len(reduced.target_truth.sources)


def test_an_engine_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline_app.casa.engines import choose_engine

    monkeypatch.setitem(os.environ, "PATH", "/nowhere")
    with pytest.raises(InvalidInput, match="no program wsclean is on PATH"):
        choose_engine("wsclean")
    assert choose_engine("auto") == "ducc0"
