from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline_app.calibrators import calibrator
from pipeline_app.simulation.judgement import judge_gains
from pipeline_app.stages.calibration_apply import CalibrationApplyParams
from pipeline_app.stages.calibration_solve import RECORD_NAME, CalibrationRecord, CalibrationSolveParams
from tasks_app.engine.handler import InvalidInput
from tasks_app.testing import LocalContext
from tests.pipeline_app.reduced_tile import Reduced

pytestmark = pytest.mark.casa


def solve(ms: Path, directory: Path, **params: object):
    from pipeline_app.casa.calibration_solve import run

    context = LocalContext(directory)
    return run(CalibrationSolveParams(ms_path=str(ms), model_smearing=False, **params), context), context


def apply(reduced: Reduced, calibration: Path | str, directory: Path, **params: object):
    from pipeline_app.casa.calibration_apply import run

    return run(
        CalibrationApplyParams(ms_path=str(reduced.target_ms), calibration_path=str(calibration), **params),
        LocalContext(directory),
    )


def changed_record(reduced: Reduced, directory: Path, **changes: object) -> Path:
    """Copy the calibration with other values in calibration.json."""
    copy = directory / "changed.cal"
    shutil.copytree(reduced.solved.calibration_path, copy)
    record = json.loads((copy / RECORD_NAME).read_text()) | changes
    (copy / RECORD_NAME).write_text(json.dumps(record))
    return copy


def private_copy(ms: Path, directory: Path):
    from pipeline_app.casa import measurement_set

    measurement_set.copy_tree(ms, directory / "private.ms")
    return measurement_set.read_info(directory / "private.ms")


def test_it_recovers_the_injected_gains(reduced: Reduced) -> None:
    judgement = judge_gains(reduced.solved.calibration_path, reduced.calibrator_truth)
    assert reduced.solved.verdict == "pass", reduced.solved.reasons
    assert judgement.n_antennas == reduced.solved.n_antennas_solved == 12
    assert judgement.flagged_fraction == 0
    assert judgement.amplitude_rms < 0.02
    assert judgement.phase_rms_deg < 2.0
    assert judgement.amplitude_median == pytest.approx(1.0, abs=0.005)


def test_the_calibrator_is_taken_as_the_beam_dims_it(reduced: Reduced) -> None:
    assert reduced.solved.calibrator == "0834+555"
    assert reduced.solved.calibrator_flux_jy == pytest.approx(8.8)
    assert reduced.solved.calibrator_apparent_flux_jy == pytest.approx(6.5, abs=0.2)


def test_neither_stage_writes_into_its_input(reduced: Reduced) -> None:
    assert reduced.digest_before == reduced.digest_after


def test_the_calibration_directory_holds_its_record(reduced: Reduced) -> None:
    directory = Path(reduced.solved.calibration_path)
    record = CalibrationRecord.model_validate_json((directory / RECORD_NAME).read_text())
    assert record.refant == reduced.solved.refant
    assert record.declination_deg == pytest.approx(54.6, abs=1e-3)
    assert record.mid_time_mjd == pytest.approx(reduced.calibrator_truth.mid_time_mjd, abs=1e-6)
    assert {"casatools", "casatasks"} <= set(record.versions)
    assert all((directory / name).is_dir() for name in ("K.cal", "B.cal", "G.cal"))
    assert (directory / "solutions.png").stat().st_size > 10_000


def test_the_tables_name_antennas_as_the_data_do(reduced: Reduced) -> None:
    from pipeline_app.casa.measurement_set import open_table

    with open_table(Path(reduced.solved.calibration_path) / "G.cal" / "ANTENNA") as antennas:
        assert antennas.getcol("NAME") == list(reduced.calibrator_truth.antenna_names)


def test_a_calibrator_too_faint_in_the_beam_completes_with_verdict_fail(reduced: Reduced, tmp_path: Path) -> None:
    result, context = solve(reduced.calibrator_ms, tmp_path, min_apparent_flux_jy=7.0)
    assert result.verdict == "fail"
    assert "arrives with 6.5" in result.reasons[0]
    assert [product.verdict for product in context.products if product.kind == "calibration"] == ["fail"]
    with pytest.raises(InvalidInput, match=r"calibration refused: .*arrives with 6\.5"):
        apply(reduced, result.calibration_path, tmp_path / "apply")


def test_without_a_calibrator_in_the_beam_there_is_no_default(
    reduced: Reduced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline_app.casa.field_calibration.calibrators", lambda: ())
    result, _ = solve(reduced.calibrator_ms, tmp_path)
    assert result.verdict == "fail"
    assert result.calibrator is None
    assert result.calibrator_flux_jy is None
    assert "no calibrator" in result.reasons[0]


def test_another_known_source_enters_the_model_with_the_flux_it_has_today(
    reduced: Reduced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, *others = reduced.calibrator_truth.sources
    present = max(others, key=lambda source: source.flux_jy)
    entry = calibrator(main.name)
    table = (
        entry,
        # published at a wrong flux, as a variable source is
        dataclasses.replace(entry, name="P", ra_deg=present.ra_deg, dec_deg=present.dec_deg, flux_jy=3.0, alpha=-0.7),
        dataclasses.replace(entry, name="Q", ra_deg=main.ra_deg + 0.5, dec_deg=main.dec_deg - 1.6, flux_jy=2.0),
    )
    monkeypatch.setattr("pipeline_app.casa.field_calibration.calibrators", lambda: table)
    with_source, _ = solve(reduced.calibrator_ms, tmp_path)
    fluxes = {source.name: source.flux_jy for source in with_source.field_sources}
    assert fluxes["P"] == pytest.approx(present.flux_jy, rel=0.03)
    assert fluxes["Q"] < 0.01
    calibrator_only, _ = solve(reduced.calibrator_ms, tmp_path / "alone", model_field_sources=False)
    assert calibrator_only.n_field_sources == 0
    judgement = judge_gains(with_source.calibration_path, reduced.calibrator_truth)
    without = judge_gains(calibrator_only.calibration_path, reduced.calibrator_truth)
    assert judgement.amplitude_rms < 0.5 * without.amplitude_rms


def test_noise_alone_is_refused(reduced: Reduced, tmp_path: Path) -> None:
    from pipeline_app.casa import measurement_set

    info = private_copy(reduced.calibrator_ms, tmp_path)
    rng = np.random.default_rng(3)
    for rows in measurement_set.iter_rows(info):
        noise = rng.standard_normal((*rows.flag.shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
        measurement_set.put_column(info.path, "DATA", rows.start, noise)
    result, _ = solve(info.path, tmp_path / "solve")
    assert result.verdict == "fail"
    assert result.reasons
    # gains fitted to noise explain that noise; what they were not fitted to shows what they are worth
    forced, _ = solve(info.path, tmp_path / "forced", min_solution_snr=1e-6)
    assert forced.verdict == "fail"
    assert forced.amplitude_ratio == pytest.approx(0.0, abs=0.3)
    assert any("off the model" in reason for reason in forced.reasons)


@pytest.mark.parametrize("params", [{"calibrator": "nowhere"}, {"refant": "999"}])
def test_an_unknown_name_is_invalid_input(reduced: Reduced, tmp_path: Path, params: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(params.values()))):
        solve(reduced.calibrator_ms, tmp_path, **params)


def test_a_missing_measurement_set_is_invalid_input(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not a Measurement Set"):
        solve(tmp_path / "none.ms", tmp_path)


def test_a_stale_calibration_is_refused(reduced: Reduced, tmp_path: Path) -> None:
    old = changed_record(reduced, tmp_path, mid_time_mjd=reduced.solved.mid_time_mjd - 1.5)
    with pytest.raises(InvalidInput, match=r"stale: 37\.\d h"):
        apply(reduced, old, tmp_path / "apply")


def test_a_calibration_of_another_strip_is_refused(reduced: Reduced, tmp_path: Path) -> None:
    other = changed_record(reduced, tmp_path, declination_deg=16.1)
    with pytest.raises(InvalidInput, match=r"another declination strip: 38\.50°"):
        apply(reduced, other, tmp_path / "apply")


def test_a_directory_that_is_no_calibration_is_refused(reduced: Reduced, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a calibration"):
        apply(reduced, tmp_path, tmp_path / "apply")


def test_gains_that_change_nothing_are_refused(reduced: Reduced, tmp_path: Path) -> None:
    from pipeline_app.casa.calibration_apply import apply_gains
    from pipeline_app.casa.solutions import Solutions

    info = private_copy(reduced.target_ms, tmp_path)
    solved = Solutions.load(Path(reduced.solved.calibration_path) / "gains.npz").onto_measurement_set(info)
    with pytest.raises(InvalidInput, match="uncalibrated"):
        apply_gains(info, dataclasses.replace(solved, gains=np.ones_like(solved.gains)))


def test_the_weights_are_those_of_the_noise(reduced: Reduced) -> None:
    assert reduced.applied.noise_median_jy == pytest.approx(reduced.target_truth.sigma_jy, rel=0.05)
    assert reduced.applied.flagged_fraction < 0.01
    assert reduced.applied.n_channels * reduced.applied.channels_averaged == 16


def test_only_cross_correlations_are_kept(reduced: Reduced) -> None:
    from pipeline_app.casa import measurement_set

    info = measurement_set.read_info(reduced.applied.ms_path)
    assert info.n_rows == 12 * 11 // 2 * 4
    assert all(rows.cross.all() for rows in measurement_set.iter_rows(info, ()))


def test_an_antenna_without_solution_is_flagged_and_named(reduced: Reduced, tmp_path: Path) -> None:
    from pipeline_app.casa import measurement_set
    from pipeline_app.casa.solutions import Solutions

    copy = changed_record(reduced, tmp_path)
    solved = Solutions.load(copy / "gains.npz")
    keep = [index for index, name in enumerate(solved.antenna_names) if name != solved.antenna_names[3]]
    dataclasses.replace(
        solved,
        antenna_names=tuple(solved.antenna_names[index] for index in keep),
        gains=solved.gains[keep],
        flags=solved.flags[keep],
        gain_snr=solved.gain_snr[keep],
    ).save(copy / "gains.npz")
    result = apply(reduced, copy, tmp_path / "apply")
    assert result.reasons == [f"1 antennas without a solution are flagged: {solved.antenna_names[3]}"]
    info = measurement_set.read_info(result.ms_path)
    for rows in measurement_set.iter_rows(info, ()):
        without = (rows.antenna1 == 3) | (rows.antenna2 == 3)
        assert rows.flag[without].all()
        assert not rows.flag[~without].any()
