"""Gains of one tile from its visibilities and a model of the sky: one value per antenna, hand and channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_app import telescope
from pipeline_app.casa import bandpass, gain_kernels, solve_kernels
from pipeline_app.casa.model import PointSource, direction_cosines
from pipeline_app.casa.pointing import BeamTrack
from pipeline_app.casa.smearing import uvw_rates
from pipeline_app.casa.threads import in_parts
from pipeline_app.casa.tile_cube import TileCube, segments

ITERATIONS = 100
TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Sky:
    """Sources as the tile's baselines and integrations see them."""

    sources: tuple[PointSource, ...]
    fringes: NDArray[np.float64]
    """(n_sources, n_baselines, n_times, 3): delay and smearing, see `solve_kernels`."""
    unit_jy: NDArray[np.float32]
    """(n_sources, n_times, n_channels): beam and spectrum of a source of 1 Jy."""

    @classmethod
    def of(cls, sources: Sequence[PointSource], cube: TileCube, track: BeamTrack) -> Sky:
        """Place sources over a tile."""
        freqs_hz = cube.info.freqs_hz
        unit = [
            track.response(source.ra_deg, source.dec_deg, freqs_hz)
            * (freqs_hz / telescope.REFERENCE_FREQ_HZ) ** source.alpha
            for source in sources
        ]
        return cls(
            sources=tuple(sources),
            fringes=np.stack([_fringes(source, cube, track) for source in sources]),
            unit_jy=np.stack(unit).astype(np.float32),
        )

    def over(self, cube: TileCube) -> solve_kernels.Observed:
        """Return the tile's visibilities with these sources, as the loops of `solve_kernels` take them."""
        fluxes = np.array([source.flux_jy for source in self.sources], dtype=np.float32)
        return solve_kernels.Observed(
            data=cube.data,
            first=cube.first,
            second=cube.second,
            fringes=self.fringes,
            apparent_jy=self.unit_jy * fluxes[:, None, None],
            freqs_hz=cube.info.freqs_hz,
            restart=cube.restart,
        )


def _fringes(source: PointSource, cube: TileCube, track: BeamTrack) -> NDArray[np.float64]:
    """Return delay, and what channel width and integration time leave of the amplitude, (n_baselines, n_times, 3).

    Smearing goes with the distance from where fringes were stopped within an integration, which is the beam.
    """
    towards = direction_cosines(source.ra_deg, source.dec_deg, cube.info)
    delay_sec = cube.uvw_m @ towards / telescope.SPEED_OF_LIGHT_M_S
    fringes = np.stack([delay_sec, np.ones(delay_sec.shape), np.zeros(delay_sec.shape)], axis=-1)
    if cube.smeared:
        from_beam = towards - direction_cosines(track.ra_deg, track.dec_deg, cube.info)
        rates_m_s = uvw_rates(cube.uvw_m.reshape(-1, 3), cube.info.phase_dec_deg).reshape(cube.uvw_m.shape)
        within = np.einsum("btx,tx->bt", cube.uvw_m, from_beam) * cube.info.channel_width_hz
        per_hz = np.einsum("btx,tx->bt", rates_m_s, from_beam) * cube.info.integration_sec
        fringes[..., 1] = np.sinc(within / telescope.SPEED_OF_LIGHT_M_S)
        fringes[..., 2] = (per_hz / telescope.SPEED_OF_LIGHT_M_S) ** 2
    return fringes


@dataclass(frozen=True, kw_only=True)
class RawGains:
    """Gains of levelled visibilities, channel by channel, of all integrations and of the even and the odd ones."""

    gains: NDArray[np.complex128]
    """(n_antennas, n_hands, n_channels); zero where there is none."""
    weights: NDArray[np.float64]
    """Inverse variance of one component over that of a visibility's."""
    halves: tuple[tuple[NDArray[np.complex128], NDArray[np.float64]], ...]
    """Empty with a single integration."""


def still(cube: TileCube) -> NDArray[np.complex64]:
    """Return the phase factors of an array whose phases do not change, (n_times, n_antennas, n_hands)."""
    return np.ones((cube.data.shape[1], *cube.levels.shape), dtype=np.complex64)


def solve(
    cube: TileCube,
    sky: Sky,
    turns: NDArray[np.complex64],
    start: NDArray[np.complex128] | None = None,
    *,
    halves: bool = True,
) -> RawGains:
    """Solve for gains that are constant in time but for the phase factors `turns`; `start` is where to begin."""
    n_baselines, n_times, n_channels, n_hands = cube.data.shape
    product = np.zeros((2, n_baselines, n_channels, n_hands), dtype=np.complex64)
    power = np.zeros(product.shape, dtype=np.float32)
    in_parts(
        solve_kernels.accumulate,
        n_baselines,
        sky.over(cube),
        np.arange(n_times) % 2,
        turns,
        product,
        power,
    )
    gains, weights = _stefcal(cube, product.sum(axis=0), power.sum(axis=0), start)
    own = [_stefcal(cube, product[half], power[half], gains) for half in range(2 if halves and n_times > 1 else 0)]
    return RawGains(
        gains=gains,
        weights=weights,
        halves=tuple((_aligned(one, one_weights, gains), one_weights) for one, one_weights in own),
    )


def _stefcal(
    cube: TileCube, product: NDArray[np.complex64], power: NDArray[np.float32], start: NDArray[np.complex128] | None
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Return gains and weights, (n_antennas, n_hands, n_channels)."""
    n_antennas, n_hands = cube.levels.shape
    shape = (product.shape[1], n_hands, n_antennas)
    gains = np.zeros(shape, np.complex64)
    if start is not None:
        gains[:] = start.transpose(2, 1, 0)
    weights = np.zeros(shape, np.float32)
    in_parts(
        gain_kernels.solve_gains,
        len(gains),
        np.ascontiguousarray(product.transpose(1, 2, 0)),
        np.ascontiguousarray(power.transpose(1, 2, 0)),
        cube.first,
        cube.second,
        ITERATIONS,
        TOLERANCE,
        gains,
        weights,
    )
    solved = gains.transpose(2, 1, 0).astype(np.complex128)
    return solved, np.where(solved == 0, 0.0, weights.transpose(2, 1, 0))


def _aligned(
    gains: NDArray[np.complex128], weights: NDArray[np.float64], like: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    """Turn each channel's common phase, which visibilities do not hold, to agree best with other gains."""
    agreement = np.sum(weights * np.conj(like) * gains, axis=0)
    return gains * np.exp(-1j * np.angle(agreement))


@dataclass(frozen=True, kw_only=True)
class SmoothGains:
    """Gains of levelled visibilities smoothed over channels; phases are relative to the reference antenna."""

    gains: NDArray[np.complex128]
    """(n_antennas, n_hands, n_channels); zero where there is none."""
    weights: NDArray[np.float64]
    half_widths: NDArray[np.int64]
    """(n_antennas, n_hands) channels to each side."""
    halves: tuple[NDArray[np.complex128], ...]
    """The same from the even and from the odd integrations alone; common phases are left as they are."""


def smooth_gains(
    raw: RawGains, cube: TileCube, refant: int, half_widths: NDArray[np.int64] | None = None
) -> SmoothGains:
    """Smooth over the channels of each subband, as far as each antenna's own data allow.

    The common phase of a channel is first that of the reference antenna, then that of all antennas together, so that
    the noise of the reference antenna does not enter all others; the result is referred to it again. How far to smooth
    is found from the halves; `half_widths` says where there are none.
    """
    freqs_hz = cube.info.freqs_hz
    parts = segments(freqs_hz)
    weights = raw.weights
    common = _unit(np.conj(raw.gains[refant]))
    delays_sec = bandpass.find_delays(raw.gains * common, weights, freqs_hz)
    slope = bandpass.slopes(delays_sec, freqs_hz, float(freqs_hz.mean()))
    if half_widths is None:
        half_widths = np.full(slope.shape[:2], max(bandpass.HALF_WIDTHS) if raw.halves else 0)
    for _ in range(2):
        flat = raw.gains * common / slope
        smoothed, _weights = bandpass.smooth_robustly(flat, weights, parts, half_widths)
        common = common * _unit(np.conj(np.sum(weights * np.conj(smoothed) * flat, axis=0)))
        if raw.halves:
            flats = [own * common / slope for own, _ in raw.halves]
            half_widths = bandpass.choose_half_widths(flats, [own for _, own in raw.halves], parts)
    smoothed, smoothed_weights = bandpass.smooth_robustly(raw.gains * common / slope, weights, parts, half_widths)
    total = smoothed * slope
    lost = total[refant] == 0
    halves = [
        bandpass.smooth_robustly(own * common / slope, own_weights, parts, half_widths)[0] * slope
        for own, own_weights in raw.halves
    ]
    return SmoothGains(
        gains=np.where(lost, 0, total * _unit(np.conj(total[refant]))),
        weights=np.where(lost, 0.0, smoothed_weights),
        half_widths=half_widths,
        halves=tuple(halves),
    )


def _unit(values: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return values / |values|, 1 for zero."""
    return np.where(values == 0, 1.0, np.exp(1j * np.angle(values)))
