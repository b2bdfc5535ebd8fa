"""The solutions of a calibration averaged over subbands, written beside them for pages that read no CASA table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_app.calibration_summary import SUMMARY_NAME, AntennaSummary, SolutionsSummary
from pipeline_app.casa.bandpass import find_delays
from pipeline_app.casa.solutions import Solutions
from pipeline_app.telescope import N_SUBBANDS


def write_summary(solutions: Solutions, directory: Path) -> None:
    """Write `solutions.json` into the directory of a calibration."""
    text = summarize(solutions).model_dump_json()
    (directory / SUMMARY_NAME).write_text(text, encoding="utf-8")


def summarize(solutions: Solutions) -> SolutionsSummary:
    """Average the gains over each sixteenth of the channels: for the DSA-110 those are its subbands."""
    descending = np.argsort(-solutions.freqs_hz)
    parts = [part for part in np.array_split(descending, min(N_SUBBANDS, len(descending))) if len(part)]
    known = ~solutions.flags
    mean = np.stack([_mean(solutions.gains[..., part], known[..., part]) for part in parts], axis=-1)
    flagged = np.stack([1.0 - known[..., part].mean(axis=(1, 2)) for part in parts], axis=-1)
    amplitude = np.abs(mean)
    if np.isfinite(amplitude).any():
        amplitude = amplitude / np.nanmedian(amplitude)
    ascending = descending[::-1]
    weights = known[..., ascending].astype(float)
    delay_ns = 1e9 * find_delays(solutions.gains[..., ascending], weights, solutions.freqs_hz[ascending])
    delay_ns = np.where(known.any(axis=-1), delay_ns, np.nan)
    snr = np.where(solutions.gain_snr > 0, solutions.gain_snr, np.nan)
    return SolutionsSummary(
        refant=solutions.refant,
        freq_ghz=[round(float(solutions.freqs_hz[part].mean()) / 1e9, 5) for part in parts],
        antennas=[
            AntennaSummary(
                name=name,
                delay_ns=_plain(delay_ns[index], 3),
                snr=_plain(snr[index], 1),
                amplitude=[_plain(hand, 4) for hand in amplitude[index]],
                phase_deg=[_plain(hand, 2) for hand in np.degrees(np.angle(mean[index]))],
                flagged=[round(float(value), 4) for value in flagged[index]],
            )
            for index, name in enumerate(solutions.antenna_names)
        ],
    )


def _mean(gains: NDArray[np.complex128], known: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """Return the mean over the last axis of what is known, NaN where nothing is."""
    count = known.sum(axis=-1)
    total = np.where(known, gains, 0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _plain(values: NDArray[np.float64], digits: int) -> list[float | None]:
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]
