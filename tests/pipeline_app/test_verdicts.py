from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from astropy.io import fits

from pipeline_app import verdicts
from pipeline_app.quality import Assessment
from pipeline_app.stages.imaging import ImagingParams, ImagingResult
from pipeline_app.stages.photometry import PhotometryParams, PhotometryResult, Position
from pipeline_app.verdicts import VerdictRecord, inherit
from tasks_app.engine.handler import InvalidInput
from tasks_app.testing import LocalContext
from tests.pipeline_app.reduced_tile import Reduced

PASS = Assessment(verdict="pass")


def record(verdict: str, *reasons: str, stage: str = "imaging") -> VerdictRecord:
    return VerdictRecord(stage=stage, verdict=verdict, reasons=reasons)


@pytest.mark.parametrize(
    ("own", "inputs", "expected"),
    [
        ("pass", [], "pass"),
        ("pass", ["warn"], "warn"),
        ("warn", ["pass", "fail"], "fail"),
        ("fail", ["pass"], "fail"),
    ],
)
def test_a_product_is_never_better_than_its_inputs(own, inputs, expected):
    made = inherit("photometry", Assessment(verdict=own), [record(verdict) for verdict in inputs])
    assert made.verdict == expected


def test_reasons_go_on_from_stage_to_stage_under_the_name_of_the_first():
    solved = record("warn", "low signal", stage="calibration")
    applied = inherit("calibration-apply", Assessment(verdict="warn", reasons=("one antenna lost",)), [solved])
    imaged = inherit("imaging", PASS, [applied, applied])
    assert imaged.all_reasons == ["calibration-apply: one antenna lost", "calibration: low signal"]
    assert imaged.verdict == "warn"


def test_a_record_survives_a_directory_and_a_fits_file(tmp_path):
    long_reason = "corrected phases scatter by 50° (limit 45°), 'quoted' & " + "much more " * 30
    made = inherit("imaging", Assessment(verdict="fail", reasons=(long_reason, "second")), [record("warn", "third ")])
    verdicts.write_record(tmp_path, made)
    assert verdicts.read_record(tmp_path) == made
    header = fits.Header()
    verdicts.to_cards(made, header)
    fits.PrimaryHDU(header=header).writeto(tmp_path / "image.fits")
    read = fits.getheader(tmp_path / "image.fits")
    assert (read["VERDICT"], verdicts.from_cards(read)) == ("fail", made)
    assert verdicts.from_cards(fits.Header()).verdict == "warn"


def image(ms_path: Path, directory: Path, **params: object) -> ImagingResult:
    from pipeline_app.casa import imaging

    wanted = {"field_deg": 2.2, "cell_arcsec": 16.0, "niter": 200, **params}
    return imaging.run(ImagingParams(ms_path=str(ms_path), **wanted), LocalContext(directory))


def measure(reduced: Reduced, imaged: ImagingResult, directory: Path, **params: object) -> PhotometryResult:
    from pipeline_app.casa import photometry

    positions = [
        Position(name=s.name, ra_deg=s.ra_deg, dec_deg=s.dec_deg, flux_jy=s.flux_jy)
        for s in reduced.target_truth.sources
    ]
    images = {name: getattr(imaged, name) for name in ("image_path", "flat_image_path", "pb_path")}
    return photometry.run(PhotometryParams(positions=positions, **images, **params), LocalContext(directory))


@pytest.mark.casa
def test_the_verdict_of_the_conversion_reaches_the_calibration_and_what_it_is_applied_to(
    reduced: Reduced, tmp_path: Path
) -> None:
    from pipeline_app.casa import calibration_apply, calibration_solve
    from pipeline_app.stages.calibration_apply import CalibrationApplyParams
    from pipeline_app.stages.calibration_solve import CalibrationSolveParams

    copies = {}
    for name in ("calibrator", "target"):
        copies[name] = tmp_path / f"{name}.ms"
        shutil.copytree(getattr(reduced, f"{name}_ms"), copies[name])
        found = record("warn", f"missing subbands of the {name}", stage="convert-uvh5-to-ms")
        (copies[name] / verdicts.CONVERSION_NAME).unlink()
        verdicts.write_record(copies[name], found, verdicts.CONVERSION_NAME)
    solved = calibration_solve.run(
        CalibrationSolveParams(ms_path=str(copies["calibrator"]), model_smearing=False), LocalContext(tmp_path / "cal")
    )
    assert solved.verdict == "warn"
    assert solved.reasons == ["convert-uvh5-to-ms: missing subbands of the calibrator"]
    applied = calibration_apply.run(
        CalibrationApplyParams(ms_path=str(copies["target"]), calibration_path=solved.calibration_path),
        LocalContext(tmp_path / "apply"),
    )
    assert applied.verdict == "warn"
    assert applied.reasons == [
        "calibration: convert-uvh5-to-ms: missing subbands of the calibrator",
        "convert-uvh5-to-ms: missing subbands of the target",
    ]


def test_uncalibrated_data_give_no_passing_flux(reduced: Reduced, tmp_path: Path) -> None:
    imaged = image(reduced.target_ms, tmp_path / "image")
    assert imaged.verdict == "fail"
    assert f"calibration: {verdicts.UNCALIBRATED}" in imaged.reasons
    measured = measure(reduced, imaged, tmp_path / "measure")
    assert measured.verdict == "fail"
    assert {m.verdict for m in measured.measurements} == {"fail"}
    with Path(measured.photometry_path).open() as lines:
        assert {row["verdict"] for row in csv.DictReader(lines)} == {"fail"}

    elsewhere = image(reduced.target_ms, tmp_path / "elsewhere", calibrated_elsewhere=True)
    assert f"calibration: {verdicts.CALIBRATED_ELSEWHERE}" in elsewhere.reasons
    assert f"calibration: {verdicts.UNCALIBRATED}" not in elsewhere.reasons


@pytest.mark.casa
def test_the_verdict_of_the_calibration_reaches_the_fluxes(reduced: Reduced, tmp_path: Path) -> None:
    good = measure(reduced, reduced.imaged, tmp_path / "good")
    assert {m.verdict for m in good.measurements} == {good.verdict} == {reduced.imaged.verdict} == {"pass"}
    doubtful = tmp_path / "doubtful.ms"
    shutil.copytree(reduced.applied.ms_path, doubtful)
    verdicts.write_record(doubtful, record("warn", "stale", stage="calibration-apply"))
    measured = measure(reduced, image(doubtful, tmp_path / "image", cell_arcsec=10.0), tmp_path / "measure")
    assert (measured.verdict, "calibration-apply: stale" in measured.reasons) == ("warn", True)


@pytest.mark.casa
def test_a_failed_validation_reaches_the_fluxes(reduced: Reduced, tmp_path: Path) -> None:
    validation = tmp_path / "validation.json"
    validation.write_text(record("fail", "all sources missing", stage="validation").model_dump_json())
    measured = measure(reduced, reduced.imaged, tmp_path / "a", validation_path=str(validation))
    assert {m.verdict for m in measured.measurements} == {"fail"}
    assert "validation: all sources missing" in measured.reasons
    with pytest.raises(InvalidInput, match="not the record of a validation"):
        measure(reduced, reduced.imaged, tmp_path / "b", validation_path=str(tmp_path / "missing.json"))
