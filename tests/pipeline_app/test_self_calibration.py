"""Phases that changed since the calibrator, repaired or reported.

The field is of 0.2 to 1 Jy: with fainter sources the noise of the phases hides what a wrong correction would cost.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline_app.quality import CoherenceFigures, judge_coherence
from pipeline_app.simulation import DEMO, FieldSpec, SmearingSpec, TileTruth, simulate_tile, tile_pair
from pipeline_app.simulation.presets import field_of
from pipeline_app.simulation.tile import thermal_rms_jy
from pipeline_app.stages.convert import ConvertParams
from pipeline_app.stages.imaging import ImagingParams, ImagingResult
from pipeline_app.stages.photometry import PhotometryParams, Position
from pipeline_app.stages.self_calibration import SelfCalibrationParams, SelfCalibrationResult
from pipeline_app.verdicts import VerdictRecord, read_record, write_record
from tasks_app.testing import LocalContext
from tests.pipeline_app.reduced_tile import NOW
from tests.pipeline_app.tiles import PERFECT_GAINS

IMAGING = {"field_deg": 1.3, "cell_arcsec": 9.0}
FIELD = FieldSpec(count=6, flux_jy=(0.2, 1.0), radius_deg=0.45, apart_deg=0.15, seed=3)


@dataclass(frozen=True)
class Target:
    """A target calibrated perfectly but for the phases that changed, and its first image."""

    directory: Path
    truth: TileTruth
    ms_path: Path
    image: ImagingResult

    def calibrate(self, name: str, **params: object) -> SelfCalibrationResult:
        from pipeline_app.casa import self_calibration

        images = {key: getattr(self.image, key) for key in ("image_path", "flat_image_path", "pb_path")}
        wanted = SelfCalibrationParams(ms_path=str(self.ms_path), imaging=IMAGING, **images, **params)
        return self_calibration.run(wanted, LocalContext(self.directory / name))

    def scale(self, images: ImagingResult | SelfCalibrationResult, name: str) -> float:
        """Return measured over injected flux, weighted by the fluxes."""
        from pipeline_app.casa import photometry

        positions = [Position(name=s.name, ra_deg=s.ra_deg, dec_deg=s.dec_deg) for s in self.truth.sources]
        paths = {key: getattr(images, key) for key in ("image_path", "flat_image_path", "pb_path")}
        result = photometry.run(PhotometryParams(positions=positions, **paths), LocalContext(self.directory / name))
        measured = {m.name: m.flux_jy for m in result.measurements}
        return sum(measured.values()) / sum(source.flux_jy for source in self.truth.sources)

    def coherence(self) -> float:
        """Return the mean of cos(phase_i - phase_j) of the injected gains over pairs and polarisations."""
        phases = self.truth.gains[:, :, 0] / np.abs(self.truth.gains[:, :, 0])
        pairs = np.triu_indices(len(phases), 1)
        return float(np.mean((phases[:, None] * phases[None].conj()).real[pairs]))


def make_target(directory: Path, phase_deg: float) -> Target:
    from pipeline_app.casa import calibration_apply, convert, imaging, measurement_set

    spec = tile_pair(NOW, dataclasses.replace(DEMO, n_antennas=24, n_times=6))[1]
    gains = dataclasses.replace(PERFECT_GAINS, drift_phase_deg=phase_deg)
    sources = field_of(spec, FIELD, thermal_rms_jy=thermal_rms_jy(spec))
    spec = dataclasses.replace(spec, gains=gains, smearing=SmearingSpec(), sources=sources)
    truth = simulate_tile(directory / "raw", spec)
    paths = [str(directory / "raw" / name) for name in truth.files]
    ms_path = Path(convert.run(ConvertParams(paths=paths, name="t"), LocalContext(directory / "convert")).ms_path)
    calibration_apply.write_weights(measurement_set.read_info(ms_path))
    write_record(ms_path, VerdictRecord(stage="calibrate-target", verdict="pass"))
    image = imaging.run(ImagingParams(ms_path=str(ms_path), **IMAGING), LocalContext(directory / "image"))
    return Target(directory=directory, truth=truth, ms_path=ms_path, image=image)


@pytest.fixture(scope="module", params=[10.0, 20.0])
def changed(request: pytest.FixtureRequest, tmp_path_factory) -> Target:
    return make_target(tmp_path_factory.mktemp("changed"), request.param)


@pytest.mark.casa
def test_phases_that_changed_are_repaired_to_two_percent(changed: Target) -> None:
    assert changed.scale(changed.image, "measure-first") < 0.98
    result = changed.calibrate("repaired")
    assert (result.applied, result.verdict) == (True, "warn")
    assert changed.scale(result, "measure-second") == pytest.approx(1.0, abs=0.02)
    assert result.coherence == pytest.approx(changed.coherence(), abs=0.01)
    assert result.coherence_after > 0.995
    assert result.second_image.rms_jy < 0.7 * changed.image.rms_jy
    assert any("phases had changed by" in reason for reason in result.reasons)
    assert read_record(result.ms_path).verdict == result.verdict
    assert any("self-calibration: phases had changed" in reason for reason in result.second_image.reasons)


@pytest.mark.casa
def test_what_is_published_has_the_final_verdict_in_it(tmp_path: Path) -> None:
    """With 35° the first image hides so much that the second one shows a coherence lower by 0.001: another text."""
    from pipeline_app.casa.fits_images import read_image

    result = make_target(tmp_path, 35.0).calibrate("repaired")
    assert result.coherence_after < 0.9995
    assert read_record(result.ms_path).reasons == tuple(result.reasons)
    for path in (result.image_path, result.flat_image_path, result.second_image.residual_path):
        output = read_image(path).verdict
        assert output.inherited == tuple(f"self-calibration: {reason}" for reason in result.reasons)
        assert output.verdict == result.second_image.verdict


@pytest.mark.casa
@pytest.mark.parametrize("per_chunk", [1, 2])
def test_the_noise_of_the_weights_does_not_depend_on_the_phases(changed: Target, per_chunk: int, monkeypatch) -> None:
    """The difference of the hands holds the sky where their phases differ: it gave antennas up to 4 times the noise.

    With the fewest integrations a chunk, the last one has too few for a difference.
    """
    from pipeline_app.casa import calibration_apply, measurement_set

    monkeypatch.setattr(calibration_apply, "CHUNK_DIFFERENCES", per_chunk)
    noise = calibration_apply.antenna_noise_jy(measurement_set.read_info(changed.ms_path))
    assert noise == pytest.approx(changed.truth.sigma_jy, rel=0.12)


@pytest.mark.casa
def test_phases_that_cannot_be_solved_fail_with_the_coherence(changed: Target) -> None:
    result = changed.calibrate("unsolved", max_phase_error_deg=0.001)
    assert (result.applied, result.image_path, result.verdict) == (False, changed.image.image_path, "fail")
    assert any(f"coherence {result.coherence:.3f}" in reason for reason in result.reasons)
    path = Path(result.record_path)
    assert read_record(path.parent, path.name).verdict == "fail"


@pytest.mark.casa
def test_a_calibration_that_fits_is_left_alone(tmp_path: Path) -> None:
    fitting = make_target(tmp_path, 0.5)
    result = fitting.calibrate("fits")
    assert (result.applied, result.image_path, result.verdict) == (False, fitting.image.image_path, "pass")
    assert result.coherence > 0.99
    assert fitting.scale(result, "measure") == pytest.approx(1.0, abs=0.02)
    assert result.second_image is None and result.ms_path == str(fitting.ms_path)


@pytest.mark.casa
@pytest.mark.parametrize("phase_deg", [0.0, 10.0, 20.0])
def test_solved_phases_are_those_of_the_data_and_their_noise_is_no_incoherence(phase_deg: float) -> None:
    """96 antennas at the real noise of a channel: an error of 3° a phase would look like a loss of 0.3 %."""
    from pipeline_app.casa.phase_solver import Products, choose_intervals, solve_phases

    rng = np.random.default_rng(1)
    n_antennas, n_times, n_channels, sigma_jy, flux_jy = 96, 12, 16, 0.5, 0.2
    first, second = np.triu_indices(n_antennas, 1)
    products = Products.empty(n_times, 1, n_antennas)
    phases = np.radians(phase_deg) * rng.standard_normal(n_antennas)
    gains = np.exp(1j * phases)
    for time in range(n_times):
        model = flux_jy * np.exp(2j * np.pi * rng.random((len(first), 1))) * np.ones(n_channels)
        noise = sigma_jy * (rng.standard_normal((*model.shape, 2)) @ [1, 1j])
        data = (gains[first] * gains[second].conj())[:, None] * model + noise
        products.add(
            data.astype(np.complex64), np.full(model.shape, sigma_jy**-2), model.astype(np.complex64),
            hand=0, time_index=np.full(len(first), time), antenna1=first, antenna2=second,
        )  # fmt: skip
    n_intervals = choose_intervals(products, 3.0)
    solved = solve_phases(products.by_interval(n_intervals))
    assert 1 < n_intervals < n_times
    expected = float(np.mean((gains[:, None] * gains.conj()).real[first, second]))
    assert solved.coherence == pytest.approx(expected, abs=0.004)
    assert 2.0 < solved.error_deg < 3.5
    off = np.angle(solved.gains[:, 0] * gains.conj(), deg=True)
    assert (off - off.mean()).std() == pytest.approx(solved.error_deg, rel=0.2)
    assert (solved.improvement > 1.005) == (phase_deg > 0)


def test_an_empty_model_has_no_solution() -> None:
    from pipeline_app.casa.phase_solver import Products, solve_phases

    assert solve_phases(Products.empty(2, 2, 4)) is None


@pytest.mark.parametrize(
    ("coherence", "error", "after", "verdict"),
    [
        (0.999, 0.001, None, "pass"),
        (0.985, 0.001, None, "warn"),
        (0.96, 0.001, None, "fail"),
        (0.96, 0.05, None, "warn"),
        (0.88, 0.001, 0.999, "warn"),
        (0.97, 0.001, 0.999, "warn"),
        (0.995, 0.001, 0.999, "pass"),
        (0.88, 0.001, 0.97, "fail"),
        (None, None, None, "warn"),
    ],
)
def test_a_loss_is_never_passed_in_silence(coherence, error, after, verdict) -> None:
    figures = CoherenceFigures(
        coherence=coherence, coherence_error=error, coherence_after=after, phase_rms_deg=None if error is None else 5.0
    )
    assert judge_coherence(figures).verdict == verdict


def test_params_of_the_second_image_are_checked_at_the_spawn() -> None:
    images = {"image_path": "a", "flat_image_path": "b", "pb_path": "c"}
    for wrong in ({"imsize_pix": 3}, {"ms_path": "x"}):
        with pytest.raises(ValidationError):
            SelfCalibrationParams(ms_path="m", imaging=wrong, **images)
