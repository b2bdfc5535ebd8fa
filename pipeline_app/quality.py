"""Thresholds → verdicts. Pure functions of measured figures: no file, no CASA, no database.

A verdict is ``pass``, ``warn`` or ``fail`` with the reasons for anything but a pass. Pairs of thresholds are those of
``warn`` and of ``fail``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """A verdict and why."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


def assess(failures: Sequence[str], warnings: Sequence[str]) -> Assessment:
    """Return ``fail`` with any failure, else ``warn`` with any warning, else ``pass``."""
    if failures:
        return Assessment(verdict="fail", reasons=(*failures, *warnings))
    return Assessment(verdict="warn" if warnings else "pass", reasons=tuple(warnings))


@dataclass(kw_only=True)
class _Reasons:
    """What speaks against a result."""

    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def above(self, value: float, limits: tuple[float, float], text: str) -> None:
        """Add the text, formatted with `value` and `limit`, when the value is above a limit."""
        warn, fail = limits
        self._add(text, value, fail if value > fail else warn if value > warn else None, failed=value > fail)

    def below(self, value: float, limits: tuple[float, float], text: str) -> None:
        """Add the text, formatted with `value` and `limit`, when the value is below a limit."""
        warn, fail = limits
        self._add(text, value, fail if value < fail else warn if value < warn else None, failed=value < fail)

    def _add(self, text: str, value: float, limit: float | None, *, failed: bool) -> None:
        if limit is not None:
            (self.failures if failed else self.warnings).append(text.format(value=value, limit=limit))

    def assessment(self) -> Assessment:
        return assess(self.failures, self.warnings)


MIN_ANTENNAS = 4
"""Amplitude self-consistency needs closure quantities, which need four antennas."""
FLAGGED_SOLUTIONS = (0.2, 0.5)
FLAGGED_CALIBRATOR_DATA = (0.5, 0.8)
SOLUTION_SNR = (15.0, 5.0)
PHASE_RMS_DEG = (15.0, 45.0)
AMPLITUDE_ERROR = (0.05, 0.15)
"""Median amplitude of corrected data over model, distance from 1, beyond what its noise explains."""
MIN_FLUX_REFERENCES = 3
"""Fewer catalogued sources in the field say nothing about the calibrator's flux: they may be the ones that vary."""
FLUX_SCALE_ERROR = (0.05, 0.2)
"""Median of fitted over catalogue flux of the field's sources, distance from 1, beyond three times its error."""


@dataclass(frozen=True, kw_only=True)
class CalibrationFigures:
    """What was measured on a solution.

    `snr_median` is the median over antennas of gain over its formal error; `phase_rms_deg` is the scatter of
    data/(gains times model) averaged over channels and times per baseline, so a source that is not there shows as 104°;
    `amplitude_ratio` is the weighted mean of the same (real part), 1 when the model explains the data. Both are
    measured on integrations that the gains were not solved from. `flux_ratio_median` is fitted over catalogue flux of
    the field's `n_flux_references` catalogued sources. None where a figure could not be measured.
    """

    n_antennas: int
    n_antennas_solved: int = 0
    flagged_solutions: float = 1.0
    flagged_fraction: float
    snr_median: float | None = None
    phase_rms_deg: float | None = None
    amplitude_ratio: float | None = None
    flux_ratio_median: float | None = None
    flux_ratio_error: float | None = None
    n_flux_references: int = 0


def judge_calibration(figures: CalibrationFigures) -> Assessment:
    """Judge whether a calibration may be applied."""
    found = _Reasons()
    if figures.n_antennas_solved < MIN_ANTENNAS:
        found.failures.append(
            f"solutions for {figures.n_antennas_solved} of {figures.n_antennas} antennas; needs {MIN_ANTENNAS}"
        )
    text = "{value:.0%} of the solutions are flagged (limit {limit:.0%})"
    found.above(figures.flagged_solutions, FLAGGED_SOLUTIONS, text)
    found.above(
        figures.flagged_fraction, FLAGGED_CALIBRATOR_DATA, "{value:.0%} of the data are flagged (limit {limit:.0%})"
    )
    if figures.snr_median is None:
        found.failures.append("the signal to noise of the solutions could not be measured")
    else:
        text = "median signal to noise of the solutions {value:.1f} (limit {limit:.0f})"
        found.below(figures.snr_median, SOLUTION_SNR, text)
    if figures.phase_rms_deg is None or figures.amplitude_ratio is None:
        found.failures.append("corrected data could not be compared with the model")
    else:
        text = "corrected phases scatter by {value:.0f}° (limit {limit:.0f}°)"
        found.above(figures.phase_rms_deg, PHASE_RMS_DEG, text)
        text = "corrected amplitudes are off the model by {value:.0%} (limit {limit:.0%})"
        found.above(abs(figures.amplitude_ratio - 1.0), AMPLITUDE_ERROR, text)
    _judge_flux_scale(figures, found)
    return found.assessment()


def _judge_flux_scale(figures: CalibrationFigures, found: _Reasons) -> None:
    ratio, error = figures.flux_ratio_median, figures.flux_ratio_error
    if ratio is None or error is None or figures.n_flux_references < MIN_FLUX_REFERENCES:
        return
    if abs(ratio - 1.0) <= 3 * error:
        return
    cause = "none of them is there"
    if ratio > 0:
        cause = f"the calibrator is {1 / ratio:.2f} times its table value, or the catalogue is wrong"
    text = (
        f"{figures.n_flux_references} catalogued sources of the field come out {ratio:.2f} times their catalogue flux"
        f" (limit 1 ± {{limit:g}}): {cause}"
    )
    found.above(abs(ratio - 1.0), FLUX_SCALE_ERROR, text)


IMAGE_NOISE = (2.0, 10.0)
"""Image rms over the thermal rms expected of the visibilities."""
DYNAMIC_RANGE = (10.0, 5.0)
FLAGGED_IMAGE_DATA = (0.5, 0.95)


@dataclass(frozen=True, kw_only=True)
class ImageFigures:
    """What was measured on an image; `flagged_data` is the fraction of the visibilities not used."""

    rms_jy: float
    thermal_rms_jy: float
    peak_jy: float
    flagged_data: float
    diverged: bool = False


def judge_image(figures: ImageFigures) -> Assessment:
    """Judge whether an image may be measured."""
    found = _Reasons()
    if figures.diverged:
        found.failures.append("the deconvolution diverged")
    if not figures.rms_jy > 0:
        found.failures.append("the image is blank")
        return found.assessment()
    if figures.thermal_rms_jy > 0:
        text = "image rms is {value:.1f} times the thermal noise (limit {limit:.0f})"
        found.above(figures.rms_jy / figures.thermal_rms_jy, IMAGE_NOISE, text)
    found.below(figures.peak_jy / figures.rms_jy, DYNAMIC_RANGE, "dynamic range {value:.1f} (limit {limit:.0f})")
    text = "{value:.0%} of the visibilities are flagged (limit {limit:.0%})"
    found.above(figures.flagged_data, FLAGGED_IMAGE_DATA, text)
    return found.assessment()


MAX_LOSS = (0.01, 0.02)
"""Of flux to phases that no longer fit, as a fraction."""
MAX_COHERENCE_ERROR = 0.02
"""A coherence that is not known to this is not known."""


@dataclass(frozen=True, kw_only=True)
class CoherenceFigures:
    """How well a calibration still fits a target; None where the field is too faint or the model empty."""

    coherence: float | None = None
    """Factor on a flux, before self-calibration."""
    coherence_error: float | None = None
    coherence_after: float | None = None
    """The same after it; None when it was not applied."""
    phase_rms_deg: float | None = None

    @property
    def flux_scale_error(self) -> float:
        """Error in proportion to a flux that what is left of the phases' errors makes; 0 where not measured."""
        if self.coherence is None or self.coherence_error is None:
            return 0.0
        return 1.0 - min(self.coherence if self.coherence_after is None else self.coherence_after, 1.0)


def judge_coherence(figures: CoherenceFigures) -> Assessment:
    """Judge whether the fluxes of a target keep their scale.

    A loss that self-calibration has repaired is a warning that names it; one that is left beyond the limit fails.
    """
    coherence, after, phases = figures.coherence, figures.coherence_after, figures.phase_rms_deg
    if coherence is None or figures.coherence_error is None:
        return assess((), ("the model has no flux: whether the calibration still fits is not known",))
    measured = f"coherence {coherence:.3f} ± {figures.coherence_error:.3f}"
    if after is not None:
        text = (
            f"phases had changed by {phases:.1f}° rms since the calibration (coherence {coherence:.3f}); "
            f"self-calibrated to {after:.3f}"
        )
        failed, doubtful = 1.0 - after > MAX_LOSS[1], 1.0 - coherence > MAX_LOSS[0]
    elif figures.coherence_error > MAX_COHERENCE_ERROR:
        text = f"the field is too faint to say whether the calibration still fits: {measured}"
        failed, doubtful = False, True
    else:
        text = f"phases differ by {phases:.1f}° rms from the calibration and could not be solved: {measured}"
        failed, doubtful = 1.0 - coherence > MAX_LOSS[1], 1.0 - coherence > MAX_LOSS[0]
    return assess((text,) if failed else (), (text,) if doubtful and not failed else ())


FLUX_RATIO_ERROR = (0.05, 0.15)
FLUX_RATIO_ERROR_OF_FEW = 0.2
"""A warning only, with fewer than three expected sources."""
MIN_FOR_SCALE = 3
MISSING_SOURCES = (0.1, 0.5)
"""Of the expected ones."""
VALIDATION_OFFSET_BEAMS = (0.2, 0.5)


@dataclass(frozen=True, kw_only=True)
class ValidationFigures:
    """What was measured on the sources that the catalogue says should be seen.

    The catalogue chooses: a source counts when its catalogue flux, seen through the beam, is far enough above the noise
    of the image. What was measured plays no part in the choice, so a source that is missing counts against the image.
    """

    n_catalog: int
    """Positions with a flux inside the beam."""
    n_at_edge: int
    """Besides these, too near to the image's edge to be measured."""
    n_expected: int
    """Of them, bright enough by the catalogue."""
    n_missing: int
    """Expected and not detected."""
    flux_ratio_median: float | None
    """Measured over catalogue flux of all expected sources, missing ones included."""
    flux_ratio_error: float | None
    offset_median_beams: float | None
    """Of the detected ones."""


def judge_validation(figures: ValidationFigures) -> Assessment:
    """Judge whether flux scale and astrometry agree with the catalogue; what cannot be verified is a warning."""
    if figures.n_expected == 0:
        at_edge = f" ({figures.n_at_edge} others are at the image's edge, nearer than the fit needs)"
        text = (
            f"flux scale and astrometry are not verified: of {figures.n_catalog} catalogue sources with a flux in the "
            f"beam none is bright enough{at_edge if figures.n_at_edge else ''}"
        )
        return assess((), (text,))
    found = _Reasons()
    text = f"{figures.n_missing} of {figures.n_expected} catalogue sources that should be seen are missing"
    found.above(figures.n_missing / figures.n_expected, MISSING_SOURCES, text)
    if figures.flux_ratio_median is not None:
        error = f" ± {figures.flux_ratio_error:.3f}" if figures.flux_ratio_error is not None else ""
        text = (
            f"median flux is {figures.flux_ratio_median:.3f}{error} times the catalogue's "
            f"({figures.n_expected} sources expected by the catalogue)"
        )
        few = figures.n_expected < MIN_FOR_SCALE
        limits = (FLUX_RATIO_ERROR_OF_FEW, float("inf")) if few else FLUX_RATIO_ERROR
        found.above(abs(figures.flux_ratio_median - 1.0), limits, text)
    if figures.offset_median_beams is not None:
        text = "sources lie {value:.2f} beams from their catalogue positions (median)"
        found.above(figures.offset_median_beams, VALIDATION_OFFSET_BEAMS, text)
    return found.assessment()


MIN_REFERENCE_SOURCES = 3
"""Fewer bright sources with a catalogue flux than this say nothing about the scale."""
WARN_FLUX_RATIO = 0.2
PHOTOMETRY_OFFSET_BEAMS = (0.2, 1.0)


@dataclass(frozen=True, kw_only=True)
class PhotometryFigures:
    """What was measured on a list of fluxes.

    `flux_ratio_median` is measured over catalogue flux, and `offset_median_beams` the fitted distance from the
    catalogue position in beams, both over the `n_reference` bright sources; None without any.
    """

    n_measured: int
    n_outside: int
    n_at_edge: int
    """Of these, in the image but too near to its edge to be measured."""
    n_reference: int
    flux_ratio_median: float | None
    offset_median_beams: float | None
    n_confused: int = 0
    """Positions too close to another to be separated."""


def judge_photometry(figures: PhotometryFigures) -> Assessment:
    """Judge whether fluxes may be used.

    A flux scale that differs from the catalogue is a warning only: a catalogue at another epoch or frequency may
    differ truly, and its fluxes never set the scale.
    """
    found = _Reasons()
    if figures.n_measured == 0:
        at_edge = f" ({figures.n_at_edge} at the image's edge, nearer than the fit needs)" if figures.n_at_edge else ""
        found.failures.append(f"none of the {figures.n_outside} positions lies inside image and primary beam{at_edge}")
    if figures.n_confused:
        found.warnings.append(f"{figures.n_confused} positions are too close together to be separated")
    if figures.n_reference >= MIN_REFERENCE_SOURCES:
        ratio = figures.flux_ratio_median
        if ratio is not None and abs(ratio - 1.0) > WARN_FLUX_RATIO:
            found.warnings.append(f"median flux is {ratio:.2f} times the catalogue's ({figures.n_reference} sources)")
        if figures.offset_median_beams is not None:
            text = "bright sources lie {value:.2f} beams from their catalogue positions (limit {limit:.1f})"
            found.above(figures.offset_median_beams, PHOTOMETRY_OFFSET_BEAMS, text)
    return found.assessment()
