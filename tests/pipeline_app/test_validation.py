"""Validation of synthetic images: a median of a dozen sources shows a scale that is off by 5 % where noise is 2 %."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline_app.quality import ValidationFigures, judge_validation
from pipeline_app.stages.photometry import Position
from pipeline_app.stages.validation import ValidationParams, ValidationResult
from pipeline_app.verdicts import VerdictRecord, read_record
from tasks_app.engine.handler import InvalidInput
from tasks_app.testing import LocalContext
from tests.pipeline_app.test_photometry import Sky

pytestmark = pytest.mark.casa
PLACES = [(x, y) for x in (350.0, 450.0, 550.0, 650.0) for y in (380.0, 500.0, 620.0)]


def sky_of(directory: Path, *, factor: float = 1.0, skip: int = 0) -> Sky:
    """Put a dozen sources of 50 mJy, noise 1 mJy, on an image, times a factor; the first `skip` only in the list."""
    sky = Sky(directory)
    empty = sky.flat.copy()
    for number, (x, y) in enumerate(PLACES):
        sky.add(x, y, 0.05 * factor)
        if number + 1 == skip:
            sky.flat = empty.copy()
    sky.positions = [position.model_copy(update={"flux_jy": 0.05}) for position in sky.positions]
    return sky


def validate(sky: Sky, positions: list[Position] | None = None, **params: object) -> ValidationResult:
    from pipeline_app.casa.validation import run

    chosen = sky.positions if positions is None else positions
    return run(
        ValidationParams(positions=chosen, **{**sky.write(), **params}), LocalContext(sky.directory / "validation")
    )


def test_an_image_that_agrees_passes(tmp_path):
    result = validate(sky_of(tmp_path))
    assert (result.verdict, result.n_expected, result.n_missing) == ("pass", 12, 0), result.reasons
    assert result.flux_ratio_median == pytest.approx(1.0, abs=0.02)
    assert result.flux_ratio_error < 0.02
    record = json.loads(Path(result.record_path).read_text())
    assert (record["verdict"], record["validation"]["n_expected"]) == ("pass", 12)
    assert read_record(Path(result.record_path).parent, "validation.json").verdict == "pass"


@pytest.mark.parametrize(("factor", "verdict"), [(1 / 1.1, "warn"), (1.1, "warn"), (0.8, "fail")])
def test_a_flux_scale_that_is_off_never_passes(tmp_path, factor, verdict):
    result = validate(sky_of(tmp_path, factor=factor))
    assert result.verdict == verdict
    assert any("times the catalogue's" in reason for reason in result.reasons)
    assert result.flux_ratio_median == pytest.approx(factor, abs=0.02)


def test_positions_a_tenth_of_a_degree_off_fail(tmp_path):
    sky = sky_of(tmp_path)
    off = [p.model_copy(update={"dec_deg": p.dec_deg + 0.1}) for p in sky.positions]
    result = validate(sky, off)
    assert result.verdict == "fail"
    assert "12 of 12 catalogue sources that should be seen are missing" in result.reasons
    assert abs(result.flux_ratio_median) < 0.2


def test_positions_a_third_of_a_beam_off_are_a_reason(tmp_path):
    sky = sky_of(tmp_path)
    off = [p.model_copy(update={"dec_deg": p.dec_deg + 16 / 3600}) for p in sky.positions]
    result = validate(sky, off)
    assert result.verdict in ("warn", "fail")
    assert any("beams from their catalogue positions" in reason for reason in result.reasons)


@pytest.mark.parametrize(("skip", "verdict"), [(2, "warn"), (8, "fail")])
def test_missing_sources_count_against_the_image(tmp_path, skip, verdict):
    result = validate(sky_of(tmp_path, skip=skip))
    assert (result.verdict, result.n_missing) == (verdict, skip)
    assert f"{skip} of 12 catalogue sources that should be seen are missing" in result.reasons
    assert [source.detected for source in result.sources] == [False] * skip + [True] * (12 - skip)


@pytest.mark.parametrize("flux_jy", [None, 0.004])
def test_what_no_catalogue_source_can_verify_does_not_pass(tmp_path, flux_jy):
    sky = sky_of(tmp_path)
    result = validate(sky, [p.model_copy(update={"flux_jy": flux_jy}) for p in sky.positions])
    assert (result.verdict, result.n_expected) == ("warn", 0)
    assert "are not verified" in result.reasons[0]


def test_faint_sources_are_left_out_however_bright_they_are_measured(tmp_path):
    """One that flared counts as little as one that faded, had the catalogue not promised it."""
    sky = sky_of(tmp_path)
    positions = [sky.positions[0].model_copy(update={"flux_jy": 0.004}), *sky.positions[1:]]
    result = validate(sky, positions)
    assert (result.n_catalog, result.n_expected) == (12, 11)
    assert result.sources[0].name == sky.positions[1].name


@pytest.mark.parametrize(("y", "verdict", "n_catalog", "n_at_edge"), [(4.0, "warn", 0, 2), (12.0, "pass", 1, 1)])
def test_bright_sources_at_the_edge_of_the_image_verify_nothing(tmp_path, y, verdict, n_catalog, n_at_edge):
    sky = Sky(tmp_path)
    sky.add(500.0, y, 5.0)
    sky.add(995.0, 500.0, 5.0)
    result = validate(sky, min_primary_beam=0.05)
    assert (result.verdict, result.n_catalog, result.n_expected) == (verdict, n_catalog, n_catalog)
    assert result.n_at_edge == n_at_edge
    if n_catalog:
        assert result.flux_ratio_median == pytest.approx(1.0, abs=0.02)
    else:
        assert result.reasons[0].endswith("(2 others are at the image's edge, nearer than the fit needs)")


def test_the_verdicts_of_the_image_and_of_self_calibration_are_inherited(tmp_path):
    sky = sky_of(tmp_path)
    record = tmp_path / "self-calibration.json"
    incoherent = VerdictRecord(stage="self-calibration", verdict="fail", reasons=("coherence 0.880",))
    record.write_text(incoherent.model_dump_json())
    result = validate(sky, self_calibration_path=str(record))
    assert (result.verdict, result.reasons) == ("fail", ["self-calibration: coherence 0.880"])


def test_a_record_that_is_missing_is_refused(tmp_path):
    sky = sky_of(tmp_path)
    with pytest.raises(InvalidInput, match="not the record of a self-calibration"):
        validate(sky, self_calibration_path=str(tmp_path / "none.json"))


def test_params_need_sources():
    with pytest.raises(ValidationError, match="give positions, catalog_path, or both"):
        ValidationParams(image_path="a", flat_image_path="b", pb_path="c")


def test_a_scale_from_fewer_than_three_sources_never_fails():
    few = ValidationFigures(
        n_catalog=2,
        n_at_edge=0,
        n_expected=2,
        n_missing=0,
        flux_ratio_median=0.7,
        flux_ratio_error=None,
        offset_median_beams=0.0,
    )
    assert judge_validation(few).verdict == "warn"
    assert judge_validation(ValidationFigures(**{**few.__dict__, "flux_ratio_median": 0.9})).verdict == "pass"
