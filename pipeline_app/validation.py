"""An image against a catalogue: which sources should be seen, and what is said when they are not as they should be.

The catalogue chooses: a source counts when its catalogue flux, seen through the beam, is far enough above the noise of
the image. What was measured plays no part in the choice, so a source that is missing counts against the image.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline_app.quality import Assessment, assess


@dataclass(frozen=True, kw_only=True)
class ValidationLimits:
    """Fractions of a flux, fractions of the expected sources, and beams."""

    min_for_scale: int = 3
    """With fewer expected sources a flux scale that is off is a warning only, from `warn_scale_of_few` on."""
    warn_scale: float = 0.05
    fail_scale: float = 0.15
    warn_scale_of_few: float = 0.2
    warn_missing: float = 0.1
    fail_missing: float = 0.5
    warn_offset_beams: float = 0.2
    fail_offset_beams: float = 0.5


@dataclass(frozen=True, kw_only=True)
class ValidationFigures:
    """What was measured on the sources that the catalogue says should be seen."""

    n_catalog: int
    """Positions with a flux inside the beam."""
    n_expected: int
    """Of them, bright enough by the catalogue."""
    n_missing: int
    """Expected and not detected."""
    flux_ratio_median: float | None
    """Measured over catalogue flux of all expected sources, missing ones included."""
    flux_ratio_error: float | None
    offset_median_beams: float | None
    """Of the detected ones."""


def judge_validation(figures: ValidationFigures, limits: ValidationLimits | None = None) -> Assessment:
    """Say whether flux scale and astrometry agree with the catalogue; what cannot be verified is a warning."""
    limits = limits or ValidationLimits()
    if figures.n_expected == 0:
        return assess(
            (),
            (
                "flux scale and astrometry are not verified: of "
                f"{figures.n_catalog} catalogue sources with a flux in the beam none is bright enough",
            ),
        )
    failures: list[str] = []
    warnings: list[str] = []
    missing = figures.n_missing / figures.n_expected
    text = f"{figures.n_missing} of {figures.n_expected} catalogue sources that should be seen are missing"
    if missing > limits.fail_missing:
        failures.append(text)
    elif missing > limits.warn_missing:
        warnings.append(text)
    _judge_scale(figures, limits, failures, warnings)
    if figures.offset_median_beams is not None:
        text = f"sources lie {figures.offset_median_beams:.2f} beams from their catalogue positions (median)"
        if figures.offset_median_beams > limits.fail_offset_beams:
            failures.append(text)
        elif figures.offset_median_beams > limits.warn_offset_beams:
            warnings.append(text)
    return assess(failures, warnings)


def _judge_scale(
    figures: ValidationFigures, limits: ValidationLimits, failures: list[str], warnings: list[str]
) -> None:
    if figures.flux_ratio_median is None:
        return
    off = abs(figures.flux_ratio_median - 1.0)
    error = f" ± {figures.flux_ratio_error:.3f}" if figures.flux_ratio_error is not None else ""
    text = (
        f"median flux is {figures.flux_ratio_median:.3f}{error} times the catalogue's "
        f"({figures.n_expected} sources expected by the catalogue)"
    )
    if figures.n_expected < limits.min_for_scale:
        if off > limits.warn_scale_of_few:
            warnings.append(text)
    elif off > limits.fail_scale:
        failures.append(text)
    elif off > limits.warn_scale:
        warnings.append(text)
