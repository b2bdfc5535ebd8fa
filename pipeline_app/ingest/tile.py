"""Whether raw files belong to one tile, and which copy of a subband is the better one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline_app.ingest.header import GRID_TOLERANCE, RawHeader
from pipeline_app.telescope import CHANNEL_WIDTH_HZ, CHANNELS_PER_SUBBAND, subband_freqs_hz

DECLINATION_TOLERANCE_DEG = 1e-5
ANTENNA_TOLERANCE_M = 0.01
_SITE_TOLERANCE = (1e-6, 1e-6, 0.1)
"""Degrees, degrees, metres: a tenth of a metre each."""
_INTEGRATION_TOLERANCE = 1e-3
_PLACE_TOLERANCE_HZ = 1.0
"""Distances from the correlator's grid that differ by less are alike."""


def differences(first: RawHeader, other: RawHeader) -> Iterator[str]:
    """Yield in what `other` differs from `first` so that both cannot be of one tile; nothing where they can."""
    if other.telescope_name != first.telescope_name:
        yield f"it is of {other.telescope_name}, not of {first.telescope_name}"
        return
    if abs(other.start_mjd - first.start_mjd) * 86_400 > first.integration_time_sec / 2:
        yield "it starts at another time"
    if abs(other.integration_time_sec / first.integration_time_sec - 1) > _INTEGRATION_TOLERANCE:
        yield f"integrations of {other.integration_time_sec:.3f} s, not {first.integration_time_sec:.3f} s"
    if other.polarizations != first.polarizations:
        yield f"polarisations {_listed(other.polarizations)}, not {_listed(first.polarizations)}"
    yield from _spectral_differences(first, other)
    yield from _pointing_differences(first, other)
    yield from _antenna_differences(first, other)


def _spectral_differences(first: RawHeader, other: RawHeader) -> Iterator[str]:
    drift = abs(other.channel_width_hz / first.channel_width_hz - 1) * max(first.n_channels, other.n_channels)
    if drift > GRID_TOLERANCE:
        yield f"channels of {other.channel_width_hz:.1f} Hz, not {first.channel_width_hz:.1f} Hz"
        return
    steps = (other.freq_min_hz - first.freq_min_hz) / _channel_width_hz(first)
    if abs(steps - round(steps)) > GRID_TOLERANCE:
        yield f"channels {steps - round(steps):+.2f} of a channel off the others' grid"


def _channel_width_hz(header: RawHeader) -> float:
    """Return the channel width, as the correlator made it where the file is on its grid."""
    channels = _channels_a_subband(header)
    return CHANNELS_PER_SUBBAND * CHANNEL_WIDTH_HZ / channels if channels else header.channel_width_hz


def _channels_a_subband(header: RawHeader) -> int | None:
    """Return into how many such channels the DSA-110's subband is cut, None where it is not cut evenly."""
    channels = round(CHANNELS_PER_SUBBAND * CHANNEL_WIDTH_HZ / header.channel_width_hz)
    return channels if header.is_dsa and channels >= 1 and CHANNELS_PER_SUBBAND % channels == 0 else None


def _pointing_differences(first: RawHeader, other: RawHeader) -> Iterator[str]:
    if abs(other.declination_deg - first.declination_deg) > DECLINATION_TOLERANCE_DEG:
        yield f"pointing to declination {other.declination_deg:.5f}°, not {first.declination_deg:.5f}°"
    elif (other.phase_centre_deg is None) != (first.phase_centre_deg is None):
        yield "a phase centre of another kind"
    elif other.phase_centre_deg is not None and first.phase_centre_deg is not None:
        off_deg = np.abs(np.subtract(other.phase_centre_deg, first.phase_centre_deg)).max()
        if off_deg > DECLINATION_TOLERANCE_DEG:
            yield f"a phase centre {off_deg:.5f}° away"


def _antenna_differences(first: RawHeader, other: RawHeader) -> Iterator[str]:
    """Compare the antennas that both list, by number."""
    if (np.abs(np.subtract(other.site_deg_m, first.site_deg_m)) > _SITE_TOLERANCE).any():
        yield "another position of the array"
    known = {number: index for index, number in enumerate(first.antenna_numbers)}
    pairs = [(known[number], index) for index, number in enumerate(other.antenna_numbers) if number in known]
    if not pairs:
        yield "no antenna number in common"
        return
    for mine, theirs in pairs:
        if other.antenna_names[theirs] != first.antenna_names[mine]:
            number = other.antenna_numbers[theirs]
            yield f"antenna {number} is called {other.antenna_names[theirs]!r}, not {first.antenna_names[mine]!r}"
            return
    ours, others = (np.array(indices) for indices in zip(*pairs, strict=True))
    off_m = np.linalg.norm(other.antenna_positions_m[others] - first.antenna_positions_m[ours], axis=1)
    if off_m.max() > ANTENNA_TOLERANCE_M:
        worst = int(off_m.argmax())
        yield f"antenna {other.antenna_numbers[others[worst]]} is {off_m[worst]:.2f} m from where the others have it"


def _listed(codes: tuple[int, ...]) -> str:
    names = {-5: "XX", -6: "YY", -7: "XY", -8: "YX", -1: "RR", -2: "LL", -3: "RL", -4: "LR"}
    return ",".join(names.get(code, str(code)) for code in codes)


def same_subband(first: RawHeader, other: RawHeader) -> bool:
    """Whether two files of one tile hold the same subband: the same number, or else frequencies that overlap."""
    if first.subband is not None and other.subband is not None:
        return first.subband == other.subband
    half_hz = max(first.channel_width_hz, other.channel_width_hz) / 2
    return first.freq_min_hz < other.freq_max_hz + half_hz and other.freq_min_hz < first.freq_max_hz + half_hz


def badness(header: RawHeader) -> tuple[int, int, int]:
    """Return what of two copies of a subband is smaller for the better: fewer rows and channels missing, exact grid."""
    off_hz, channels = 0.0, _channels_a_subband(header)
    if channels is not None:
        width_hz = _channel_width_hz(header)
        steps = (float(subband_freqs_hz(0, channels).max()) - header.freqs_hz) / width_hz
        off_hz = float(np.abs(steps - np.round(steps)).max()) * width_hz
    return (-header.n_rows, -header.n_channels, round(off_hz / _PLACE_TOLERANCE_HZ))
