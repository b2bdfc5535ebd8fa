from __future__ import annotations

import numpy as np
import pytest

from pipeline_app import telescope


def test_station_positions_agree_with_surveyed_geocentric_values():
    by_number = {station.number: station for station in telescope.stations()}
    expected = {
        1: (-2409761.229, -4478100.499, 3838761.518),
        51: (-2409411.748, -4478288.544, 3838761.518),
        102: (-2409459.942, -4477959.335, 3839112.926),
        116: (-2410521.902, -4477836.382, 3838585.723),
    }
    for number, position in expected.items():
        assert by_number[number].itrf_m == pytest.approx(position, abs=2e-3)


def test_the_96_active_stations_span_2602_metres():
    positions = np.array([s.itrf_m for s in telescope.stations() if s.active])
    assert len(positions) == 96
    lengths = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    assert lengths.max() == pytest.approx(2601.63, abs=0.01)


def test_the_channel_grid_is_the_one_of_real_headers():
    first, last = telescope.subband_freqs_hz(0), telescope.subband_freqs_hz(15)
    assert first[0] == pytest.approx(1498.643188477e6, abs=1)
    assert last[-1] == pytest.approx(1311.387329e6, abs=1)
    assert np.diff(first) == pytest.approx(-244140.625)
    assert first[-1] - telescope.subband_freqs_hz(1)[0] == pytest.approx(244140.625)


@pytest.mark.parametrize("channels", [1, 4, 12])
def test_fewer_channels_cover_the_same_band(channels):
    full = np.concatenate([telescope.subband_freqs_hz(k) for k in range(16)])
    reduced = np.concatenate([telescope.subband_freqs_hz(k, channels) for k in range(16)])
    assert reduced == pytest.approx(full.reshape(-1, 48 // channels).mean(axis=1), abs=1e-3)


def test_it_refuses_channel_counts_that_do_not_tile_a_subband():
    with pytest.raises(ValueError, match="divide"):
        telescope.subband_freqs_hz(0, 5)
    with pytest.raises(ValueError, match="subband 16"):
        telescope.subband_freqs_hz(16)


def test_the_beam_is_half_at_half_its_width_and_zero_at_the_airy_null():
    freq_hz = 1.4e9
    wavelength_over_dish_deg = np.degrees(telescope.SPEED_OF_LIGHT_M_S / freq_hz / telescope.DISH_DIAMETER_M)
    fwhm_deg = telescope.beam_fwhm_deg(freq_hz)
    assert fwhm_deg == pytest.approx(1.029 * wavelength_over_dish_deg, rel=1e-3)
    assert telescope.power_beam(fwhm_deg / 2, freq_hz) == pytest.approx(0.5, abs=1e-6)
    assert telescope.power_beam(1.2197 * wavelength_over_dish_deg, freq_hz) == pytest.approx(0, abs=1e-5)


def test_the_beam_only_falls_within_the_main_lobe_and_narrows_with_frequency():
    offsets_deg = np.linspace(0, 3, 200)
    low, high = (telescope.power_beam(offsets_deg, f) for f in (1.31e9, 1.5e9))
    assert low[0] == 1
    assert (np.diff(high) < 0).all()
    assert (high[1:] < low[1:]).all()


def test_far_sources_stay_below_two_per_cent():
    assert telescope.power_beam(np.linspace(3.3, 90, 500), 1.405e9).max() < 0.02


def test_separation_follows_the_sphere():
    assert telescope.angular_separation_deg(359.5, 60, 0.5, 60) == pytest.approx(0.5, abs=1e-4)
    assert telescope.angular_separation_deg(10, -90, 200, 90) == pytest.approx(180)
