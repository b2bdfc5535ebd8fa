"""Smearing against visibilities computed at many instants and frequencies within each integration and channel.

No CASA, no noise and no small tile: the array's own baselines, the real channel width and integration time, since a
wrong factor hides where channels are so wide, or baselines so short, that everything or nothing is lost.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline_app.telescope import (
    CHANNEL_WIDTH_HZ,
    INTEGRATION_TIME_SEC,
    SIDEREAL_RATE_DEG_PER_SEC,
    SPEED_OF_LIGHT_M_S,
    beam_fwhm_deg,
    stations,
)

pytestmark = pytest.mark.casa

DECLINATION_DEG = 54.6
FREQS_HZ = np.array([1.32e9, 1.405e9, 1.49e9])
TURN_RAD_PER_SEC = np.radians(SIDEREAL_RATE_DEG_PER_SEC)


def baselines_m() -> NDArray[np.float64]:
    """Return vectors from a few stations to all others, near and far: (n, 3), with x towards the meridian."""
    positions = np.array([station.itrf_m for station in stations()])
    longitude = np.arctan2(positions[:, 1].mean(), positions[:, 0].mean())
    turn = np.array([[np.cos(longitude), np.sin(longitude), 0], [-np.sin(longitude), np.cos(longitude), 0], [0, 0, 1]])
    local = positions @ turn.T
    return np.concatenate([local[index + 1 :] - local[index] for index in (0, 40, 80, 100)])


def towards(hour_angle_rad: NDArray | float, dec_rad: float) -> NDArray[np.float64]:
    """Return unit vectors in the same frame, x towards the meridian and z towards the pole."""
    hour_angle_rad = np.asarray(hour_angle_rad)
    return np.stack(
        [
            np.cos(dec_rad) * np.cos(hour_angle_rad),
            -np.cos(dec_rad) * np.sin(hour_angle_rad),
            np.full(hour_angle_rad.shape, np.sin(dec_rad)),
        ],
        axis=-1,
    )


def offset_direction(l: float, m: float) -> tuple[float, float]:  # noqa: E741
    """Return how far east a direction lies of the phase centre in right ascension, and its declination (radians)."""
    n, dec0 = np.sqrt(1 - l**2 - m**2), np.radians(DECLINATION_DEG)
    return float(np.arctan2(l, n * np.cos(dec0) - m * np.sin(dec0))), float(
        np.arcsin(m * np.cos(dec0) + n * np.sin(dec0))
    )


def kept(
    vectors_m: NDArray,
    l: float,  # noqa: E741
    m: float,
    *,
    width_hz: float,
    centre_time_sec: float = 0.0,
    drift: bool = False,
) -> NDArray[np.float64]:
    """Return what is left of unit visibilities (n_baselines, n_freqs), by summing over 31 instants x 31 frequencies.

    The phase centre transits at time 0. Within the integration fringes are stopped on the phase centre or, with
    `drift`, on the point of the sky that transits at `centre_time_sec`; its middle is on the phase centre.
    """
    parts = (np.arange(31) + 0.5) / 31 - 0.5
    times_sec = centre_time_sec + parts * INTEGRATION_TIME_SEC
    east_rad, dec_rad = offset_direction(l, m)
    dec0 = np.radians(DECLINATION_DEG)
    stopped_rad = TURN_RAD_PER_SEC * centre_time_sec if drift else 0.0  # east of the phase centre
    source = towards(TURN_RAD_PER_SEC * times_sec - east_rad, dec_rad)
    stopped = towards(TURN_RAD_PER_SEC * times_sec - stopped_rad, dec0)
    middle = towards(np.array(TURN_RAD_PER_SEC * centre_time_sec), dec0) - towards(
        np.array(TURN_RAD_PER_SEC * centre_time_sec - stopped_rad), dec0
    )
    delay_sec = vectors_m @ (source - stopped - middle).T / SPEED_OF_LIGHT_M_S
    exact_sec = (
        vectors_m
        @ (
            towards(np.array(TURN_RAD_PER_SEC * centre_time_sec - east_rad), dec_rad)
            - towards(np.array(TURN_RAD_PER_SEC * centre_time_sec), dec0)
        )
        / SPEED_OF_LIGHT_M_S
    )
    freqs_hz = FREQS_HZ[:, None] + parts * width_hz
    turns = delay_sec[:, :, None, None] * freqs_hz
    averaged = np.exp(2j * np.pi * turns).mean(axis=(1, 3))
    return np.real(averaged * np.exp(-2j * np.pi * exact_sec[:, None] * FREQS_HZ))


def sampling_at(vectors_m: NDArray, centre_time_sec: float = 0.0):
    from pipeline_app.casa.smearing import Sampling

    hour_angle, dec = TURN_RAD_PER_SEC * centre_time_sec, np.radians(DECLINATION_DEG)
    centre = towards(np.array(hour_angle), dec)
    east = np.array([np.sin(hour_angle), np.cos(hour_angle), 0.0])
    uvw_m = vectors_m @ np.stack([east, np.cross(centre, east), centre], axis=-1)
    weights = np.linspace(0.2, 1.0, len(vectors_m))[:, None] * np.array([0.5, 1.0, 0.8])
    return Sampling(
        uvw_m=uvw_m,
        freqs_hz=FREQS_HZ,
        weights=weights,
        integration_sec=INTEGRATION_TIME_SEC,
        declination_deg=DECLINATION_DEG,
    )


@pytest.mark.parametrize("angle_deg", [0, 50, 90, 160])
@pytest.mark.parametrize("channels", [1, 4])
def test_the_mean_loss_is_that_of_visibilities_averaged_over_channel_and_integration(
    angle_deg: float, channels: int
) -> None:
    from pipeline_app.casa.smearing import mean_smearing

    radius = np.sin(np.radians(beam_fwhm_deg(1.405e9) / 2))
    l, m = radius * np.sin(np.radians(angle_deg)), radius * np.cos(np.radians(angle_deg))  # noqa: E741
    vectors_m, width_hz = baselines_m(), channels * CHANNEL_WIDTH_HZ
    sampling = sampling_at(vectors_m)
    left = np.average(kept(vectors_m, l, m, width_hz=width_hz), weights=sampling.weights)
    loss = float(mean_smearing(l, m, sampling, channel_width_hz=width_hz))
    assert 0.001 < 1 - left < 0.05
    assert loss == pytest.approx(1 - left, rel=0.02)


def test_fringes_stopped_on_the_drifting_beam_lose_by_the_distance_from_the_beam() -> None:
    from pipeline_app.casa.smearing import mean_smearing

    late_sec = 148.0  # the last integration of a tile: the beam is 0.36 degrees east of the phase centre
    vectors_m = baselines_m()
    l, m = np.sin(np.radians(1.2)), 0.003  # noqa: E741
    sampling = sampling_at(vectors_m, late_sec)
    tracked_l = np.cos(np.radians(DECLINATION_DEG)) * np.sin(TURN_RAD_PER_SEC * late_sec)
    drifting = dataclasses.replace(sampling, tracked_lm=np.tile([tracked_l, 0.0], (len(vectors_m), 1)))
    for case, drift in ((sampling, False), (drifting, True)):
        seen = kept(vectors_m, l, m, width_hz=0.0, centre_time_sec=late_sec, drift=drift)
        left = np.average(seen, weights=sampling.weights)
        assert float(mean_smearing(l, m, case, channel_width_hz=0.0)) == pytest.approx(1 - left, rel=0.05)
    assert mean_smearing(l, m, drifting, channel_width_hz=0.0) < 0.7 * mean_smearing(
        l, m, sampling, channel_width_hz=0.0
    )


def test_nothing_is_lost_at_the_phase_centre_and_maps_keep_their_shape() -> None:
    from pipeline_app.casa.smearing import mean_smearing

    grid = np.linspace(-0.02, 0.02, 5)
    loss = mean_smearing(*np.meshgrid(grid, grid), sampling_at(baselines_m()), channel_width_hz=4 * CHANNEL_WIDTH_HZ)
    assert loss.shape == (5, 5)
    assert abs(loss[2, 2]) < 1e-12
    assert np.all(np.delete(loss.ravel(), 12) > 0)


def test_averaging_is_chosen_by_the_mean_loss_within_the_limit_and_within_subbands() -> None:
    from pipeline_app.casa.smearing import choose_averaging, half_power_smearing, sample_as_imaged

    freqs_hz = 1.311e9 + CHANNEL_WIDTH_HZ * np.arange(768)
    sampling = sample_as_imaged(
        sampling_at(baselines_m()).uvw_m, freqs_hz, integration_sec=INTEGRATION_TIME_SEC, declination_deg=54.6
    )
    chosen = choose_averaging(sampling, freqs_hz, channel_width_hz=CHANNEL_WIDTH_HZ, group=48, max_smearing=0.007)
    assert chosen.channels > 1
    assert chosen.band_loss <= 0.007
    assert chosen.total_loss > chosen.band_loss
    more = min(count for count in range(chosen.channels + 1, 49) if 48 % count == 0)
    still = dataclasses.replace(sampling, integration_sec=0.0)
    radius_deg = beam_fwhm_deg(float(freqs_hz.mean())) / 2
    assert half_power_smearing(still, channel_width_hz=more * CHANNEL_WIDTH_HZ, radius_deg=radius_deg) > 0.007
    none = choose_averaging(sampling, freqs_hz, channel_width_hz=CHANNEL_WIDTH_HZ, group=48, max_smearing=0.0)
    assert none.channels == 1
    gap_hz = np.concatenate([freqs_hz[:6], freqs_hz[7:13]])
    assert (
        choose_averaging(sampling, gap_hz, channel_width_hz=CHANNEL_WIDTH_HZ, group=12, max_smearing=0.5).channels == 6
    )


def test_smearing_of_a_tile_is_that_of_the_subbands_it_has() -> None:
    from pipeline_app.casa.pointing import beam_track
    from pipeline_app.casa.response import smearing_towards
    from pipeline_app.casa.stokes import imaging_weights
    from tests.pipeline_app.skies import geometry

    whole = geometry(24, n_channels=64, n_times=12)
    info, losses = whole.info, []
    ra_deg, dec_deg = np.array([info.phase_ra_deg]), np.array([info.phase_dec_deg + 1.0])
    for present in (slice(0, 64), slice(29, 35), slice(30, 34), slice(1, 4)):
        weight = np.zeros_like(whole.weight)
        weight[:, present] = 1.0
        data = dataclasses.replace(whole, weight=weight)
        weights = imaging_weights(data, robust=2.0, field_rad=0.05)
        losses.append(float(smearing_towards(ra_deg, dec_deg, data, beam_track(info), weights)[0]))
    assert losses[0] > 0.02
    # the loss to the integration time goes with the square of the frequency
    assert losses[1:] == pytest.approx([losses[0]] * 3, rel=0.2)
