"""What a calibration found for each antenna, small enough for a page: one value a subband."""

from __future__ import annotations

from typing import BinaryIO

from pydantic import BaseModel, ConfigDict

SUMMARY_NAME = "solutions.json"
"""In the directory of a calibration."""


class AntennaSummary(BaseModel):
    """One antenna. Lists by hand (XX, YY) are outside, by subband inside; None where every solution is flagged."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    delay_ns: list[float | None]
    """A hand each."""
    snr: list[float | None]
    """A hand each: gain over its formal error."""
    amplitude: list[list[float | None]]
    """Relative to the median of all antennas."""
    phase_deg: list[list[float | None]]
    """Of the mean gain of the subband, relative to the reference antenna."""
    flagged: list[float]
    """A subband each: fraction of the solutions that are flagged, both hands together."""


class SolutionsSummary(BaseModel):
    """All antennas of a calibration."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    refant: str
    freq_ghz: list[float]
    """Middle of each subband, subband 0 (the highest) first."""
    antennas: list[AntennaSummary]


def read_summary(file: BinaryIO) -> SolutionsSummary:
    """Read the summary of a calibration. Raises OSError, and ValueError for another content."""
    return SolutionsSummary.model_validate_json(file.read())
