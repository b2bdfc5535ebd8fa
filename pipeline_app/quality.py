"""Thresholds → verdicts. Pure functions of measured figures: no file, no CASA, no database.

A verdict is ``pass``, ``warn`` or ``fail`` with the reasons for anything but a pass. Every threshold is a field of a
frozen limits object, so that a caller can tighten one and a reader sees all of them in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class CalibrationLimits:
    """When a calibration is doubtful (``warn_*``) or refused (``fail_*``, ``min_*``)."""

    min_antennas: int = 4
    """Amplitude self-consistency needs closure quantities, which need four antennas."""
    fail_flagged_solutions: float = 0.5
    warn_flagged_solutions: float = 0.2
    fail_snr: float = 5.0
    warn_snr: float = 15.0
    fail_phase_rms_deg: float = 45.0
    warn_phase_rms_deg: float = 15.0
    fail_amplitude_error: float = 0.15
    """Median amplitude of corrected data over model, distance from 1, beyond what its noise explains."""
    warn_amplitude_error: float = 0.05
    fail_flagged_data: float = 0.8
    warn_flagged_data: float = 0.5
    min_flux_references: int = 3
    """Fewer catalogued sources in the field say nothing about the calibrator's flux: they may be the ones that vary."""
    fail_flux_scale_error: float = 0.2
    warn_flux_scale_error: float = 0.05
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
    n_antennas_solved: int
    flagged_solutions: float
    flagged_data: float
    snr_median: float | None
    phase_rms_deg: float | None
    amplitude_ratio: float | None
    flux_ratio_median: float | None = None
    flux_ratio_error: float | None = None
    n_flux_references: int = 0


def judge_calibration(figures: CalibrationFigures, limits: CalibrationLimits | None = None) -> Assessment:
    """Say whether a calibration may be applied."""
    limits = limits or CalibrationLimits()
    failures: list[str] = []
    warnings: list[str] = []
    if figures.n_antennas_solved < limits.min_antennas:
        failures.append(
            f"solutions for {figures.n_antennas_solved} of {figures.n_antennas} antennas; needs {limits.min_antennas}"
        )
    _above(
        figures.flagged_solutions,
        limits.warn_flagged_solutions,
        limits.fail_flagged_solutions,
        "{value:.0%} of the solutions are flagged (limit {limit:.0%})",
        failures,
        warnings,
    )
    _above(
        figures.flagged_data,
        limits.warn_flagged_data,
        limits.fail_flagged_data,
        "{value:.0%} of the data are flagged (limit {limit:.0%})",
        failures,
        warnings,
    )
    if figures.snr_median is None:
        failures.append("the signal to noise of the solutions could not be measured")
    else:
        _below(
            figures.snr_median,
            limits.warn_snr,
            limits.fail_snr,
            "median signal to noise of the solutions {value:.1f} (limit {limit:.0f})",
            failures,
            warnings,
        )
    if figures.phase_rms_deg is None or figures.amplitude_ratio is None:
        failures.append("corrected data could not be compared with the model")
    else:
        _above(
            figures.phase_rms_deg,
            limits.warn_phase_rms_deg,
            limits.fail_phase_rms_deg,
            "corrected phases scatter by {value:.0f}° (limit {limit:.0f}°)",
            failures,
            warnings,
        )
        _above(
            abs(figures.amplitude_ratio - 1.0),
            limits.warn_amplitude_error,
            limits.fail_amplitude_error,
            "corrected amplitudes are off the model by {value:.0%} (limit {limit:.0%})",
            failures,
            warnings,
        )
    _judge_flux_scale(figures, limits, failures, warnings)
    return assess(failures, warnings)


def _judge_flux_scale(
    figures: CalibrationFigures, limits: CalibrationLimits, failures: list[str], warnings: list[str]
) -> None:
    ratio, error = figures.flux_ratio_median, figures.flux_ratio_error
    if ratio is None or error is None or figures.n_flux_references < limits.min_flux_references:
        return
    if abs(ratio - 1.0) <= 3 * error:
        return
    cause = "none of them is there"
    if ratio > 0:
        cause = f"the calibrator is {1 / ratio:.2f} times its table value, or the catalogue is wrong"
    _above(
        abs(ratio - 1.0),
        limits.warn_flux_scale_error,
        limits.fail_flux_scale_error,
        f"{figures.n_flux_references} catalogued sources of the field come out {ratio:.2f} times their catalogue flux"
        f" (limit 1 ± {{limit:g}}): {cause}",
        failures,
        warnings,
    )


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """When an image is doubtful or useless."""

    fail_noise_factor: float = 10.0
    warn_noise_factor: float = 2.0
    """Image rms over the thermal rms expected of the visibilities."""
    fail_dynamic_range: float = 5.0
    warn_dynamic_range: float = 10.0
    warn_flagged_data: float = 0.5
    fail_flagged_data: float = 0.95


@dataclass(frozen=True, kw_only=True)
class ImageFigures:
    """What was measured on an image; `flagged_data` is the fraction of the visibilities not used."""

    rms_jy: float
    thermal_rms_jy: float
    peak_jy: float
    flagged_data: float
    diverged: bool = False


def judge_image(figures: ImageFigures, limits: ImageLimits | None = None) -> Assessment:
    """Say whether an image may be measured."""
    limits = limits or ImageLimits()
    failures: list[str] = []
    warnings: list[str] = []
    if figures.diverged:
        failures.append("the deconvolution diverged")
    if not figures.rms_jy > 0:
        failures.append("the image is blank")
        return assess(failures, warnings)
    if figures.thermal_rms_jy > 0:
        _above(
            figures.rms_jy / figures.thermal_rms_jy,
            limits.warn_noise_factor,
            limits.fail_noise_factor,
            "image rms is {value:.1f} times the thermal noise (limit {limit:.0f})",
            failures,
            warnings,
        )
    _below(
        figures.peak_jy / figures.rms_jy,
        limits.warn_dynamic_range,
        limits.fail_dynamic_range,
        "dynamic range {value:.1f} (limit {limit:.0f})",
        failures,
        warnings,
    )
    _above(
        figures.flagged_data,
        limits.warn_flagged_data,
        limits.fail_flagged_data,
        "{value:.0%} of the visibilities are flagged (limit {limit:.0%})",
        failures,
        warnings,
    )
    return assess(failures, warnings)


@dataclass(frozen=True, kw_only=True)
class PhotometryLimits:
    """When a list of fluxes is doubtful or useless."""

    min_reference_sources: int = 3
    """Fewer bright sources with a catalogue flux than this say nothing about the scale."""
    warn_flux_ratio: float = 0.2
    warn_offset_beams: float = 0.2
    fail_offset_beams: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PhotometryFigures:
    """What was measured on a list of fluxes.

    `flux_ratio_median` is measured over catalogue flux, and `offset_median_beams` the fitted distance from the
    catalogue position in beams, both over the `n_reference` bright sources; None without any.
    """

    n_measured: int
    n_outside: int
    n_reference: int
    flux_ratio_median: float | None
    offset_median_beams: float | None
    n_confused: int = 0
    """Positions too close to another to be told apart."""


def judge_photometry(figures: PhotometryFigures, limits: PhotometryLimits | None = None) -> Assessment:
    """Say whether fluxes may be used.

    A flux scale that differs from the catalogue is a warning only: a catalogue at another epoch or frequency may
    differ truly, and its fluxes never set the scale.
    """
    limits = limits or PhotometryLimits()
    failures: list[str] = []
    warnings: list[str] = []
    if figures.n_measured == 0:
        failures.append(f"none of the {figures.n_outside} positions lies inside the primary beam")
    if figures.n_confused:
        warnings.append(f"{figures.n_confused} positions are too close together to be separated")
    if figures.n_reference >= limits.min_reference_sources:
        if figures.flux_ratio_median is not None and abs(figures.flux_ratio_median - 1.0) > limits.warn_flux_ratio:
            warnings.append(
                f"median flux is {figures.flux_ratio_median:.2f} times the catalogue's ({figures.n_reference} sources)"
            )
        if figures.offset_median_beams is not None:
            _above(
                figures.offset_median_beams,
                limits.warn_offset_beams,
                limits.fail_offset_beams,
                "bright sources lie {value:.2f} beams from their catalogue positions (limit {limit:.1f})",
                failures,
                warnings,
            )
    return assess(failures, warnings)


def _above(value: float, warn: float, fail: float, text: str, failures: list[str], warnings: list[str]) -> None:
    if value > fail:
        failures.append(text.format(value=value, limit=fail))
    elif value > warn:
        warnings.append(text.format(value=value, limit=warn))


def _below(value: float, warn: float, fail: float, text: str, failures: list[str], warnings: list[str]) -> None:
    if value < fail:
        failures.append(text.format(value=value, limit=fail))
    elif value < warn:
        warnings.append(text.format(value=value, limit=warn))
