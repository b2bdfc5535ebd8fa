"""The defects of a tile as arrays: interference, antennas without signal, weak integrations, edges of subbands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline_app.simulation.defects import POLARIZATIONS, AntennaFault
from pipeline_app.simulation.spec import TileSpec
from pipeline_app.telescope import Station


def add_interference(
    noise_jy: NDArray[np.complex64], spec: TileSpec, subband: int, *, sigma_jy: float, rng: np.random.Generator
) -> None:
    """Add the bursts and carriers of a subband to its noise, shape (2, n_times, n_baselines, n_channels)."""
    n_polarizations, n_times, n_baselines, _ = noise_jy.shape
    for burst in spec.defects.bursts:
        if burst.subband == subband:
            phases = _unit(rng, (n_polarizations, n_baselines, 1))
            noise_jy[:, burst.time_index] += burst.noise_multiple * sigma_jy * phases
    for carrier in spec.defects.carriers:
        if carrier.subband == subband:
            phases = _unit(rng, (n_polarizations, n_times, n_baselines))
            noise_jy[..., carrier.channel] += carrier.noise_multiple * sigma_jy * phases


def signal_of(spec: TileSpec, pads: tuple[Station, ...], subband: int) -> NDArray[np.float32]:
    """Return 1 where an antenna receives the sky and 0 where it does not, shape (n_times, n_antennas, 2)."""
    signal = np.ones((spec.n_times, len(pads), len(POLARIZATIONS)), dtype=np.float32)
    for fault in spec.defects.antennas:
        signal[:, _index(pads, fault), _hands(fault)] = 0
    for lost in spec.defects.lost:
        if lost.subband == subband:
            signal[lost.time_index] = 0
    return signal


def scale_of(spec: TileSpec, pads: tuple[Station, ...]) -> NDArray[np.float32]:
    """Return the factor of signal and noise, shape (n_times, n_antennas, 2)."""
    scale = np.ones((spec.n_times, len(pads), len(POLARIZATIONS)), dtype=np.float32)
    for fault in spec.defects.antennas:
        if fault.kind == "zero":
            scale[:, _index(pads, fault), _hands(fault)] = 0
    for weak in spec.defects.weak:
        scale[weak.time_index] *= np.sqrt(weak.factor)
    return scale


def response_of(spec: TileSpec) -> NDArray[np.float64]:
    """Return which part of the sky's power each channel of a subband passes, shape (n_channels,)."""
    n_channels = spec.channels_per_subband
    from_edge = np.minimum(np.arange(n_channels), np.arange(n_channels)[::-1])
    response = np.ones(n_channels)
    for edge in spec.defects.roll_off:
        inside = np.minimum(from_edge / edge.channels, 1.0)
        response *= edge.response + (1.0 - edge.response) * np.sin(np.pi / 2 * inside) ** 2
    return response


def _unit(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    return np.exp(2j * np.pi * rng.random(shape)).astype(np.complex64)


def _hands(fault: AntennaFault) -> slice:
    if fault.polarization is None:
        return slice(None)
    index = POLARIZATIONS.index(fault.polarization)
    return slice(index, index + 1)


def _index(pads: tuple[Station, ...], fault: AntennaFault) -> int:
    numbers = [pad.number for pad in pads]
    if fault.station not in numbers:
        raise ValueError(f"station {fault.station} is not in the tile; it has {', '.join(map(str, numbers))}")
    return numbers.index(fault.station)
