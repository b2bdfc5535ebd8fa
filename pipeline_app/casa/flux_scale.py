"""The calibrator's flux against the other catalogued sources of its own field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline_app.casa.field_calibration import FittedSource

MIN_PREDICTED_SNR = 10.0
"""Sources are chosen by what the catalogue promises, never by what was measured: one that is missing counts."""


@dataclass(frozen=True, kw_only=True)
class FluxScale:
    """Fitted over catalogue flux."""

    n_references: int
    ratio_median: float | None
    ratio_error: float | None
    """Of the median, from the scatter of the ratios; None with fewer than three."""


def scale_error(scale: FluxScale, amplitude_ratio: float | None) -> float:
    """Return the error in proportion of all fluxes that a calibration gives, as far as its own tile shows it.

    Part is what the gains lose on integrations that they were not solved from (`amplitude_ratio`), as they will on
    another tile; part is by how much the field's catalogued sources are off their catalogue, beyond their scatter. The
    noise of the gains is in both.
    """
    lost = 0.0 if amplitude_ratio is None else 1.0 - amplitude_ratio
    off = 0.0
    if scale.ratio_median is not None and scale.ratio_error is not None:
        off = max(0.0, abs(scale.ratio_median - 1.0) - scale.ratio_error)
    return float(np.hypot(lost, off))


def compare(fitted: Sequence[FittedSource], catalogued: Sequence[str]) -> FluxScale:
    """Compare the fitted fluxes of the catalogued sources with the catalogue's.

    Every flux of the field is relative to the calibrator's, which is taken from its table: a calibrator that is
    brighter than the table says makes all the others too faint by the same factor.
    """
    ratios = [
        one.source.flux_jy / one.catalogue_flux_jy
        for one in fitted
        if one.source.name in catalogued
        and one.catalogue_flux_jy
        and one.catalogue_flux_jy > MIN_PREDICTED_SNR * one.error_jy
    ]
    if not ratios:
        return FluxScale(n_references=0, ratio_median=None, ratio_error=None)
    median = float(np.median(ratios))
    # the median of n values scatters by 1.2533 sigma / sqrt(n); sigma from the median absolute deviation
    spread = 1.4826 * float(np.median(np.abs(np.array(ratios) - median)))
    error = 1.2533 * spread / np.sqrt(len(ratios)) if len(ratios) >= 3 else None
    return FluxScale(n_references=len(ratios), ratio_median=median, ratio_error=error)
