"""The key figures of products, with their units, rounded to what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pipeline_app.sky_text import dms, flux_density, hms


class Figure(NamedTuple):
    """One line of a table of figures."""

    label: str
    value: str


Write = Callable[[Mapping[str, Any]], str]


def _number(name: str, form: str, factor: float = 1.0) -> Write:
    def write(metrics: Mapping[str, Any]) -> str:
        value = metrics[name]
        return "" if value is None else form.format(value if factor == 1.0 else value * factor)

    return write


def _text(name: str) -> Write:
    return lambda metrics: "" if metrics[name] is None else str(metrics[name])


def _flux(name: str, unit: str = "") -> Write:
    return lambda metrics: flux_density(metrics[name], unit=unit)


def _names(name: str) -> Write:
    return lambda metrics: ", ".join(map(str, metrics[name])) or "none"


def _beam(metrics: Mapping[str, Any]) -> str:
    major, minor, pa = (metrics[f"beam_{part}"] for part in ("major_arcsec", "minor_arcsec", "pa_deg"))
    return f"{major:.1f}″ × {minor:.1f}″, position angle {pa:.0f}°"


def _size(metrics: Mapping[str, Any]) -> str:
    pixels, cell = metrics["imsize_pix"], metrics["cell_arcsec"]
    return f"{pixels} × {pixels} pixels of {cell:.2f}″: {pixels * cell / 3600:.2f}°"


def _band(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['freq_min_hz'] / 1e9:.3f}–{metrics['freq_max_hz'] / 1e9:.3f} GHz"


def _of(part: str, whole: str) -> Write:
    return lambda metrics: f"{metrics[part]} of {metrics[whole]}"


def _ratio(value: str, error: str) -> Write:
    def write(metrics: Mapping[str, Any]) -> str:
        if metrics[value] is None:
            return ""
        return f"{metrics[value]:.3f}" + (f" ± {metrics[error]:.3f}" if metrics.get(error) else "")

    return write


def _noise(metrics: Mapping[str, Any]) -> str:
    rms, thermal = metrics["rms_jy"], metrics["thermal_rms_jy"]
    times = f", {rms / thermal:.2f} times the thermal noise" if thermal else ""
    return f"{flux_density(rms, unit='/beam')}{times}"


def _yes(name: str) -> Write:
    return lambda metrics: "yes" if metrics[name] else "no"


_FIGURES: dict[str, tuple[tuple[str, Write], ...]] = {
    "ms": (
        ("band", _band),
        ("subbands", _number("n_subbands", "{}")),
        ("missing subbands", _names("missing_subbands")),
        ("antennas", _number("n_antennas", "{}")),
        ("integrations", _number("n_times", "{}")),
        ("channels", _number("n_channels", "{}")),
        ("flagged in the raw files", _number("flagged_fraction", "{:.1f} %", 100)),
    ),
    "calibration": (
        ("calibrator", _text("calibrator")),
        ("seen with", _flux("calibrator_apparent_flux_jy")),
        ("reference antenna", _text("refant")),
        ("antennas solved", _of("n_antennas_solved", "n_antennas")),
        ("without data", _names("antennas_without_data")),
        ("without solution", _names("antennas_without_solution")),
        ("flagged solutions", _number("flagged_solutions", "{:.1f} %", 100)),
        ("flagged data", _number("flagged_fraction", "{:.1f} %", 100)),
        ("median signal to noise", _number("snr_median", "{:.0f}")),
        ("phase scatter after calibration", _number("phase_rms_deg", "{:.1f}°")),
        ("amplitude over model", _number("amplitude_ratio", "{:.3f}")),
        ("phase drift within the tile", _number("phase_drift_deg", "{:.1f}°")),
        ("field sources over catalogue", _ratio("flux_ratio_median", "flux_ratio_error")),
        ("error of the flux scale", _number("flux_scale_error", "{:.1f} %", 100)),
    ),
    "calibrated-ms": (
        ("phase centre", lambda m: f"{hms(m['phase_ra_deg'])} {dms(m['phase_dec_deg'])}"),
        ("calibrator", _text("calibrator")),
        ("age of the calibration", _number("calibration_age_hours", "{:.1f} h")),
        ("subbands", _number("n_subbands", "{}")),
        ("missing subbands", _names("missing_subbands")),
        ("antennas", _number("n_antennas", "{}")),
        ("dead antennas", _names("dead_antennas")),
        ("flagged", _number("flagged_fraction", "{:.1f} %", 100)),
        ("channels averaged", _number("channels_averaged", "{}")),
        ("loss by smearing at half power", _number("total_smearing", "{:.1f} %", 100)),
    ),
    "image": (
        ("noise", _noise),
        ("thermal noise", _flux("thermal_rms_jy", "/beam")),
        ("peak", _flux("peak_jy", "/beam")),
        ("dynamic range", _number("dynamic_range", "{:,.0f}")),
        ("beam", _beam),
        ("frequency of the fluxes", _number("freq_hz", "{:.3f} GHz", 1e-9)),
        ("effective frequency", _number("effective_freq_hz", "{:.3f} GHz", 1e-9)),
        ("size", _size),
        ("deconvolution", lambda m: f"{m['engine']}, {m['iterations']} components, {m['major_cycles']} major cycles"),
        ("stopped by", _text("stop_reason")),
    ),
    "self-calibration": (
        ("second image made", _yes("applied")),
        ("coherence", _ratio("coherence", "coherence_error")),
        ("coherence afterwards", _number("coherence_after", "{:.3f}")),
        ("phases off the calibration by", _number("phase_rms_deg", "{:.1f}°")),
    ),
    "validation": (
        ("catalogue sources expected", _number("n_expected", "{}")),
        ("of them not seen", _number("n_missing", "{}")),
        ("sources at the image's edge, not measured", _number("n_at_edge", "{}")),
        ("flux over catalogue", _ratio("flux_ratio_median", "flux_ratio_error")),
        ("median distance from catalogue", _number("offset_median_arcsec", "{:.2f}″")),
    ),
    "photometry": (
        ("fluxes", _number("n_measured", "{}")),
        ("positions outside the image or the beam", _number("n_outside", "{}")),
        ("of them at the image's edge", _number("n_at_edge", "{}")),
        ("flux over catalogue", _number("flux_ratio_median", "{:.3f}")),
        ("error in proportion to the flux", _number("fractional_error", "{:.2f} %", 100)),
    ),
}


def figures_of(kind: str, metrics: Mapping[str, Any]) -> list[Figure]:
    """Return the figures of a product of that kind that were stored; one of another form is left out."""
    found = []
    for label, write in _FIGURES.get(kind, ()):
        try:
            value = write(metrics)
        except (KeyError, TypeError, ValueError):
            continue
        if value:
            found.append(Figure(label, value))
    return found
