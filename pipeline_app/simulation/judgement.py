"""A pipeline's products against the truth of simulated tiles: computed from what is on disk, never assumed.

Only numpy: the command that prints the judgement must not load CASA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_app.simulation.spec import Source
from pipeline_app.simulation.truth import TileTruth
from pipeline_app.stages.photometry import Measurement

BRIGHT_SNR = 10.0
MIN_FRACTION_WITHIN = 0.9
MAX_SIGMA = 3.0
MAX_FRACTION_OFF = 0.1
MAX_MEDIAN_OFF = 0.03
MAX_OFFSET_BEAMS = 0.2
MAX_GAIN_AMPLITUDE = 0.01
MAX_GAIN_PHASE_DEG = 1.0


@dataclass(frozen=True, kw_only=True)
class Check:
    """One judgement: a figure, what it may be, and whether it is."""

    name: str
    value: float
    limit: str
    passed: bool


@dataclass(frozen=True, kw_only=True)
class SourceJudgement:
    """One source as injected and as measured; None where it was not measured."""

    name: str
    injected_jy: float
    measured_jy: float | None = None
    error_jy: float | None = None
    ratio: float | None = None
    offset_arcsec: float | None = None
    expected_snr: float | None = None
    """Injected flux over the noise at its place."""
    within: bool = False
    """Within 3 sigma or 10 % of the injected flux."""

    @property
    def bright(self) -> bool:
        """Whether it counts: above 10 sigma, or not measured at all."""
        return self.expected_snr is None or self.expected_snr > BRIGHT_SNR


@dataclass(frozen=True, kw_only=True)
class _Judgement:
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


@dataclass(frozen=True, kw_only=True)
class FluxJudgement(_Judgement):
    """All sources of a target tile."""

    sources: tuple[SourceJudgement, ...]
    n_bright: int
    fraction_within: float
    ratio_median: float
    offset_median_arcsec: float
    offset_max_arcsec: float


@dataclass(frozen=True, kw_only=True)
class GainJudgement(_Judgement):
    """Gains recovered over gains injected, after the phases are referred to the reference antenna."""

    amplitude_rms: float
    """Of |ratio| - 1 over antennas, polarisations and channels."""
    amplitude_median: float
    phase_rms_deg: float
    flagged_fraction: float
    n_antennas: int


def judge_fluxes(
    measurements: Sequence[Measurement], injected: Sequence[Source], *, beam_minor_arcsec: float
) -> FluxJudgement:
    """Compare measured fluxes and positions with what was injected, source by source, by name.

    Raises:
        ValueError: nothing was injected.
    """
    if not injected:
        raise ValueError("no injected sources to judge by")
    by_name = {measurement.name: measurement for measurement in measurements}
    sources = tuple(_judge_source(source, by_name.get(source.name)) for source in injected)
    bright = [source for source in sources if source.bright]
    ratios = [source.ratio for source in bright if source.ratio is not None]
    offsets = [source.offset_arcsec for source in bright if source.offset_arcsec is not None]
    fraction = sum(source.within for source in bright) / len(bright) if bright else 0.0
    ratio = float(np.median(ratios)) if ratios else 0.0
    offset_median, offset_max = (float(np.median(offsets)), max(offsets)) if offsets else (np.inf, np.inf)
    allowed_arcsec = MAX_OFFSET_BEAMS * beam_minor_arcsec
    checks = (
        Check(
            name="sources above 10σ within 3σ or 10 %",
            value=fraction,
            limit=f"≥ {MIN_FRACTION_WITHIN:.0%}",
            passed=fraction >= MIN_FRACTION_WITHIN,
        ),
        Check(
            name="median flux ratio",
            value=ratio,
            limit=f"1 ± {MAX_MEDIAN_OFF:g}",
            passed=abs(ratio - 1.0) <= MAX_MEDIAN_OFF,
        ),
        Check(
            name="largest position offset, arcsec",
            value=offset_max,
            limit=f"≤ {allowed_arcsec:.1f}",
            passed=offset_max <= allowed_arcsec,
        ),
    )
    return FluxJudgement(
        sources=sources,
        n_bright=len(bright),
        fraction_within=fraction,
        ratio_median=ratio,
        offset_median_arcsec=offset_median,
        offset_max_arcsec=offset_max,
        checks=checks,
    )


def judge_gains(calibration_path: Path | str, truth: TileTruth) -> GainJudgement:
    """Compare the gains.npz of a calibration with the gains injected into the calibrator's tile.

    A Measurement Set holds the conjugates of raw visibilities, hence of their gains (see `TileTruth.gains`). Phases are
    defined up to one phase a polarisation and channel: both sets are referred to the solution's reference antenna.

    Raises:
        ValueError: no antenna or no channel is in both.
    """
    with np.load(Path(calibration_path) / "gains.npz", allow_pickle=False) as solved:
        names = [str(name) for name in solved["antenna_names"]]
        freqs_hz, gains, flags = solved["freqs_hz"], solved["gains"], solved["flags"]
        reference = str(solved["refant"])
    antennas, truth_antennas = _matches(names, list(truth.antenna_names))
    channels, truth_channels = _same_channels(freqs_hz, truth.freqs_hz)
    if not antennas or not len(channels) or reference not in truth.antenna_names:
        raise ValueError("solution and truth have no antennas, channels or reference antenna in common")
    injected = truth.gains.conj()[truth_antennas][:, :, truth_channels]
    ratio = gains[antennas][:, :, channels] / injected
    bad = flags[antennas][:, :, channels]
    own = ratio[antennas.index(names.index(reference))]
    ratio = ratio * np.exp(-1j * np.angle(own))
    good = ratio[~bad]
    if good.size == 0:
        raise ValueError("all solutions are flagged")
    amplitude_rms = float(np.sqrt(np.mean((np.abs(good) - 1.0) ** 2)))
    phase_rms_deg = float(np.degrees(np.sqrt(np.mean(np.angle(good) ** 2))))
    return GainJudgement(
        amplitude_rms=amplitude_rms,
        amplitude_median=float(np.median(np.abs(good))),
        phase_rms_deg=phase_rms_deg,
        flagged_fraction=float(bad.mean()),
        n_antennas=len(antennas),
        checks=(
            Check(
                name="gain amplitudes, rms off the injected",
                value=amplitude_rms,
                limit=f"≤ {MAX_GAIN_AMPLITUDE:.0%}",
                passed=amplitude_rms <= MAX_GAIN_AMPLITUDE,
            ),
            Check(
                name="gain phases, rms off the injected, degrees",
                value=phase_rms_deg,
                limit=f"≤ {MAX_GAIN_PHASE_DEG:g}",
                passed=phase_rms_deg <= MAX_GAIN_PHASE_DEG,
            ),
        ),
    )


def _judge_source(source: Source, measured: Measurement | None) -> SourceJudgement:
    if measured is None:
        return SourceJudgement(name=source.name, injected_jy=source.flux_jy)
    off_jy = abs(measured.flux_jy - source.flux_jy)
    noise_jy = measured.local_rms_jy / measured.primary_beam
    return SourceJudgement(
        name=source.name,
        injected_jy=source.flux_jy,
        measured_jy=measured.flux_jy,
        error_jy=measured.flux_err_jy,
        ratio=measured.flux_jy / source.flux_jy,
        offset_arcsec=measured.offset_arcsec,
        expected_snr=source.flux_jy / noise_jy if noise_jy > 0 else np.inf,
        within=off_jy <= max(MAX_SIGMA * measured.flux_err_jy, MAX_FRACTION_OFF * source.flux_jy),
    )


def _matches(first: list[str], second: list[str]) -> tuple[list[int], list[int]]:
    """Return the indices of the common names in both lists."""
    where = {name: index for index, name in enumerate(second)}
    common = [(index, where[name]) for index, name in enumerate(first) if name in where]
    return [a for a, _ in common], [b for _, b in common]


def _same_channels(
    first_hz: NDArray[np.float64], second_hz: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the channels that are in both."""
    distance_hz = np.abs(first_hz[:, None] - second_hz[None])
    nearest = distance_hz.argmin(axis=1)
    common = np.flatnonzero(distance_hz.min(axis=1) < 1.0)
    return common, nearest[common]
