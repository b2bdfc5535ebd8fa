"""The streaming stage against the two stages it replaces, and its own refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline_app.stages.calibrate_target import CalibrateTargetParams, CalibrateTargetResult
from pipeline_app.stages.calibration_solve import RECORD_NAME
from tasks_app.engine.handler import InvalidInput
from tasks_app.testing import LocalContext
from tests.pipeline_app.reduced_tile import Reduced

pytestmark = pytest.mark.casa


def raw_files(reduced: Reduced) -> list[Path]:
    directory = reduced.target_ms.parent.parent.parent / "target-raw"
    return [directory / name for name in reduced.target_truth.files]


def calibrate(
    paths: list[Path], directory: Path, calibration: Path | str, **params: object
) -> tuple[CalibrateTargetResult, LocalContext]:
    from pipeline_app.casa.calibrate_target import run

    context = LocalContext(directory)
    files = [str(path) for path in paths]
    return run(CalibrateTargetParams(paths=files, calibration_path=str(calibration), **params), context), context


def contents(path: str | Path) -> dict[str, np.ndarray]:
    """Return the cross-correlations of a Measurement Set, sorted by time and antennas."""
    from pipeline_app.casa.measurement_set import open_table

    with open_table(path) as main:
        columns = {name: main.getcol(name) for name in ("TIME", "ANTENNA1", "ANTENNA2", "UVW", "DATA", "FLAG")}
        if "WEIGHT_SPECTRUM" in main.colnames():
            columns["WEIGHT_SPECTRUM"] = main.getcol("WEIGHT_SPECTRUM")
        columns["WEIGHT"], columns["SIGMA"] = main.getcol("WEIGHT"), main.getcol("SIGMA")
    order = np.lexsort((columns["ANTENNA2"], columns["ANTENNA1"], columns["TIME"]))
    order = order[columns["ANTENNA1"][order] != columns["ANTENNA2"][order]]
    return {name: values[order] for name, values in columns.items()}


def test_one_pass_gives_the_data_that_conversion_and_calibration_give(reduced: Reduced, tmp_path: Path) -> None:
    """No averaging (the limit is 0), so that every visibility can be compared; signs and centres show on any size."""
    from pipeline_app.casa import calibration_apply, measurement_set
    from pipeline_app.stages.calibration_apply import CalibrationApplyParams

    applied = calibration_apply.run(
        CalibrationApplyParams(
            ms_path=str(reduced.target_ms), calibration_path=reduced.solved.calibration_path, max_smearing=0
        ),
        LocalContext(tmp_path / "two"),
    )
    result, context = calibrate(
        raw_files(reduced), tmp_path / "one", reduced.solved.calibration_path, max_smearing=0, name="target"
    )
    one, two = contents(context.products_dir / "target.calibrated.ms"), contents(applied.ms_path)
    for name in ("TIME", "ANTENNA1", "ANTENNA2"):
        assert np.array_equal(one[name], two[name])
    assert np.abs(one["UVW"] - two["UVW"]).max() < 1e-4
    both = ~one["FLAG"] & ~two["FLAG"]
    assert both.mean() > 0.99
    assert np.abs(one["DATA"] - two["DATA"])[both].max() < 1e-4 * np.abs(two["DATA"][both]).max()
    infos = [
        measurement_set.read_info(path)
        for path in (context.products_dir / "target.calibrated.ms", applied.ms_path, reduced.target_ms)
    ]
    assert infos[0].antenna_names == infos[1].antenna_names
    assert np.allclose(infos[0].freqs_hz, infos[1].freqs_hz)
    assert (infos[0].phase_ra_deg, infos[0].phase_dec_deg) == (infos[2].phase_ra_deg, infos[2].phase_dec_deg)
    assert result.calibrator == reduced.solved.calibrator
    assert result.noise_median_jy == pytest.approx(applied.noise_median_jy, rel=0.1)
    assert result.verdict == "pass", result.reasons
    (product,) = context.products
    assert (product.kind, product.verdict) == ("calibrated-ms", "pass")
    assert reduced.solved.calibration_path in product.inputs


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"verdict": "fail", "reasons": ["too faint"]}, "refused: too faint"),
        ({"mid_time_mjd": 61000.0}, "stale"),
        ({"declination_deg": 16.1}, "declination strip"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(
    reduced: Reduced, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    copy = tmp_path / "changed.cal"
    shutil.copytree(reduced.solved.calibration_path, copy)
    record = json.loads((copy / RECORD_NAME).read_text()) | changes
    (copy / RECORD_NAME).chmod(0o644)
    (copy / RECORD_NAME).write_text(json.dumps(record))
    with pytest.raises(InvalidInput, match=words):
        calibrate(raw_files(reduced), tmp_path / "out", copy)


def test_a_file_that_repeats_an_integration_is_named(reduced: Reduced, tmp_path: Path) -> None:
    files = [Path(shutil.copy(path, tmp_path)) for path in raw_files(reduced)[:2]]
    with h5py.File(files[1], "r+") as file:
        times_jd = file["Header/time_array"][()]
        file["Header/time_array"][...] = np.where(times_jd == times_jd.max(), np.unique(times_jd)[-2], times_jd)
    with pytest.raises(InvalidInput, match=files[1].name):
        calibrate(files, tmp_path / "out", reduced.solved.calibration_path)
