from __future__ import annotations

import csv
import dataclasses
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h5py
import numpy as np
import pytest
from django.core.management import CommandError, call_command

from pipeline_app import telescope
from pipeline_app.calibrators import beam_weighted_flux_jy, calibrator
from pipeline_app.naming import parse_raw_name
from pipeline_app.simulation import GainSpec, Source, TileSpec, TileTruth, demo_tiles, simulate_tile, tiny_tiles
from pipeline_app.simulation.geometry import pick_stations, pointing_icrs_deg

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
START = datetime(2026, 11, 23, 12, 17, 36, tzinfo=UTC)


def spec(**changes: object) -> TileSpec:
    small = TileSpec(
        kind="target",
        start_time=START,
        declination_deg=54.6,
        sources=(),
        n_antennas=6,
        channels_per_subband=2,
        subbands=(0, 1),
        n_times=3,
        gains=GainSpec.perfect(),
        sefd_jy=0.0,
    )
    return dataclasses.replace(small, **changes)


def simulated(directory: Path, tile: TileSpec, subband: int = 0) -> tuple[h5py.File, np.ndarray]:
    """Return one open file and its visibilities, shape (n_times, n_baselines, n_channels, 2)."""
    truth = simulate_tile(directory, tile)
    file = h5py.File(directory / truth.files[subband])
    data = file["Data/visdata"][:, 0]
    return file, data.reshape(tile.n_times, -1, *data.shape[1:])


def pairs(file: h5py.File) -> tuple[np.ndarray, np.ndarray]:
    n_baselines = int(file["Header/Nbls"][()])
    return file["Header/ant_1_array"][:n_baselines], file["Header/ant_2_array"][:n_baselines]


def test_a_file_has_the_correlators_layout_and_oddities(tmp_path):
    tile = spec(n_antennas=12)
    file, _ = simulated(tmp_path, tile)
    header = file["Header"]
    assert header["phase_type"][()] == b"drift"
    assert header["telescope_name"][()] == b"OVRO_MMA"
    assert header["uvw_array"].dtype == np.float32
    assert header["channel_width"][()] == pytest.approx(telescope.CHANNEL_WIDTH_HZ * 24)
    assert header["freq_array"].shape == (1, 2)
    assert (np.diff(header["freq_array"][0]) < 0).all()
    assert file["Data/visdata"].shape == (3 * 78, 1, 2, 2)
    assert file["Data/visdata"].dtype == np.complex64
    assert header["extra_keywords/phase_center_dec"][()] == pytest.approx(np.radians(54.6))
    assert header["extra_keywords/phase_center_epoch"][()] == b"HADEC"
    assert len(header["extra_keywords/applied_delays_ns"][()].split()) == 2 * 117
    assert header["Nants_telescope"][()] == len(header["antenna_names"]) == 117
    assert list(header["antenna_numbers"]) == [int(name) - 1 for name in header["antenna_names"]]
    first, second = pairs(file)
    assert (first > second).any()
    assert (first < second).any()
    assert set(first) == {pad.number - 1 for pad in pick_stations(12)}


def test_uvw_in_the_file_are_slightly_turned_and_never_change(tmp_path):
    file, _ = simulated(tmp_path, spec(n_antennas=20))
    uvw = file["Header/uvw_array"][()].reshape(3, -1, 3)
    assert (uvw == uvw[0]).all()
    first, second = pairs(file)
    positions = file["Header/antenna_positions"][()]
    lengths = np.linalg.norm(positions[second] - positions[first], axis=-1)
    assert np.linalg.norm(uvw[0], axis=-1) == pytest.approx(lengths, abs=1e-3)
    longitude = np.radians(telescope.LONGITUDE_DEG)
    east = (positions[second] - positions[first]) @ [-np.sin(longitude), np.cos(longitude), 0]
    assert 0.2 < np.abs(uvw[0, :, 0] - east).max() < 3


def test_host_clocks_differ_within_a_tile_but_its_times_do_not(tmp_path):
    truth = simulate_tile(tmp_path, spec(subbands=tuple(range(16)), channels_per_subband=1))
    names = [parse_raw_name(name) for name in truth.files]
    assert [name.subband for name in names] == list(range(16))
    late_sec = [(name.host_time - START).total_seconds() for name in names]
    assert 2 < max(late_sec) - min(late_sec) <= 11
    times = {tuple(h5py.File(tmp_path / name)["Header/time_array"][()]) for name in truth.files}
    assert len(times) == 1
    assert sorted(path.name for path in tmp_path.glob("*.hdf5")) == sorted(truth.files)


def test_fringes_stand_still_on_the_meridian_and_nowhere_else(tmp_path):
    tile = spec(n_times=5, integration_time_sec=60.0, beam=False)
    ra_deg, dec_deg = pointing_icrs_deg(tile.declination_deg, tile.mid_time)
    on_axis = Source(name="a", ra_deg=ra_deg, dec_deg=dec_deg, flux_jy=2.0)
    file, data = simulated(tmp_path, dataclasses.replace(tile, sources=(on_axis,)))
    first, second = pairs(file)
    cross = data[:, first != second]
    assert cross[2] == pytest.approx(2.0 + 0j, abs=1e-3)
    assert np.abs(np.angle(cross[0])).max() > 1


def test_a_source_east_of_the_meridian_comes_first_to_the_eastern_antenna(tmp_path):
    tile = spec(n_times=1, beam=False, n_antennas=30)
    ra_deg, dec_deg = pointing_icrs_deg(tile.declination_deg, tile.mid_time)
    east_deg = 1e-3
    source = Source(name="e", ra_deg=ra_deg + east_deg / np.cos(np.radians(dec_deg)), dec_deg=dec_deg, flux_jy=1.0)
    file, data = simulated(tmp_path, dataclasses.replace(tile, sources=(source,)))
    first, second = pairs(file)
    longitude = np.radians(telescope.LONGITUDE_DEG)
    positions = file["Header/antenna_positions"][()]
    east_m = (positions[second] - positions[first]) @ [-np.sin(longitude), np.cos(longitude), 0]
    freq_hz = file["Header/freq_array"][0, 0]
    turns = east_m * np.radians(east_deg) * freq_hz / telescope.SPEED_OF_LIGHT_M_S
    # the axes of date are turned against the ICRS by a fraction of a degree
    assert np.angle(data[0, :, 0, 0]) == pytest.approx(2 * np.pi * turns, abs=0.02)


def test_gains_multiply_as_first_times_conjugate_of_second(tmp_path):
    ra_deg, dec_deg = pointing_icrs_deg(54.6, START)
    source = Source(name="a", ra_deg=ra_deg + 0.2, dec_deg=dec_deg, flux_jy=1.0)
    _, perfect = simulated(tmp_path / "perfect", spec(sources=(source,)))
    file, corrupted = simulated(tmp_path / "corrupted", spec(sources=(source,), gains=GainSpec(seed=3)))
    truth = TileTruth.load(tmp_path / "corrupted", "2026-11-23T12:17:36")
    channel = list(truth.freqs_hz).index(file["Header/freq_array"][0, 0])
    row = {int(name) - 1: index for index, name in enumerate(truth.antenna_names)}
    first, second = ([row[number] for number in numbers] for numbers in pairs(file))
    expected = truth.gains[first, 1, channel] * truth.gains[second, 1, channel].conj()
    assert corrupted[0, :, 0, 1] / perfect[0, :, 0, 1] == pytest.approx(expected, rel=1e-4)


def test_gains_belong_to_stations_and_drift_only_when_asked(tmp_path):
    gains = GainSpec(seed=3)
    few = simulate_tile(tmp_path / "few", spec(gains=gains, seed=1))
    many = simulate_tile(tmp_path / "many", spec(gains=gains, seed=2, n_antennas=30))
    drifted = simulate_tile(tmp_path / "drift", spec(gains=dataclasses.replace(gains, drift_phase_deg=1.0), seed=2))
    shared = sorted(set(few.antenna_names) & set(many.antenna_names))
    assert len(shared) >= 2
    for name in shared:
        here, there = few.antenna_names.index(name), many.antenna_names.index(name)
        assert (few.gains[here] == many.gains[there]).all()
    turned_deg = np.degrees(np.abs(np.angle(drifted.gains / few.gains)))
    assert 0.1 < turned_deg.max() < 5
    assert np.abs(few.delays_ns).max() <= 15


def test_noise_and_autocorrelations_follow_the_system_temperature(tmp_path):
    tile = spec(n_antennas=40, sefd_jy=6500.0)
    file, data = simulated(tmp_path, tile)
    first, second = pairs(file)
    width_hz = float(file["Header/channel_width"][()])
    sigma_jy = 6500 / np.sqrt(2 * width_hz * tile.integration_time_sec)
    cross = data[:, first != second]
    assert cross.real.std() == pytest.approx(sigma_jy, rel=0.03)
    assert cross.imag.std() == pytest.approx(sigma_jy, rel=0.03)
    assert data[:, first == second].real.mean() == pytest.approx(6500, rel=0.01)
    assert np.abs(data[:, first == second].imag).max() == 0


def test_the_calibrator_arrives_weakened_by_the_beam(tmp_path):
    tile = dataclasses.replace(
        tiny_tiles(NOW)[0], gains=GainSpec.perfect(), sefd_jy=0.0, subbands=(8,), n_times=1, integration_time_sec=309.0
    )
    known = calibrator("0834+555")
    own = tuple(source for source in tile.sources if source.name == known.name)
    file, data = simulated(tmp_path, dataclasses.replace(tile, sources=own))
    first, second = pairs(file)
    ra_deg, dec_deg = pointing_icrs_deg(tile.declination_deg, tile.mid_time)
    expected_jy = beam_weighted_flux_jy(known, ra_deg, dec_deg, file["Header/freq_array"][0, 0])
    assert 6 < expected_jy < 7
    assert np.abs(data[0, first != second]) == pytest.approx(expected_jy, rel=1e-3)


def test_the_demo_takes_the_last_transit_of_the_calibrator_and_a_later_tile_of_the_same_strip():
    first, second = demo_tiles(NOW)
    known = calibrator("0834+555")
    ra_deg, _ = pointing_icrs_deg(first.declination_deg, first.mid_time)
    assert ra_deg == pytest.approx(known.ra_deg, abs=0.01)
    assert first.declination_deg == second.declination_deg
    assert second.start_time > first.start_time
    end = second.start_time + timedelta(seconds=second.duration_sec)
    assert end <= NOW
    assert NOW - first.start_time < timedelta(hours=26)
    assert second.duration_sec == pytest.approx(telescope.TILE_DURATION_SEC)


@pytest.mark.parametrize("now", [NOW + timedelta(hours=hours) for hours in range(0, 24, 5)])
def test_the_demo_lies_in_the_past_at_any_hour(now):
    first, second = demo_tiles(now)
    assert second.start_time + timedelta(seconds=second.duration_sec) <= now
    assert now - first.start_time < timedelta(hours=26)


def test_target_sources_are_off_centre_apart_and_between_50_mjy_and_1_jy():
    target = demo_tiles(NOW)[1]
    ra_deg, dec_deg = pointing_icrs_deg(target.declination_deg, target.mid_time)
    places = np.array([(s.ra_deg, s.dec_deg) for s in target.sources])
    offsets_deg = telescope.angular_separation_deg(*places.T, ra_deg, dec_deg)
    assert len(places) >= 10
    assert 0.05 < offsets_deg.min() < offsets_deg.max() < 1.0
    gaps_deg = telescope.angular_separation_deg(*places.T[:, :, None], *places.T[:, None, :])
    assert gaps_deg[~np.eye(len(places), dtype=bool)].min() > 0.1
    fluxes_jy = sorted(s.flux_jy for s in target.sources)
    assert (fluxes_jy[0], fluxes_jy[-1]) == (0.05, 1.0)


def test_truth_survives_a_round_trip(tmp_path):
    ra_deg, dec_deg = pointing_icrs_deg(54.6, START)
    source = Source(name="a", ra_deg=ra_deg, dec_deg=dec_deg, flux_jy=1.0, alpha=-0.7)
    written = simulate_tile(tmp_path, spec(sources=(source,), sefd_jy=6500.0, gains=GainSpec()))
    read = TileTruth.load(tmp_path, written.name)
    for field in dataclasses.fields(TileTruth):
        assert np.array_equal(getattr(read, field.name), getattr(written, field.name)), field.name
    assert written.name == "2026-11-23T12:17:36"
    # 15 baselines, 3 times, 4 channels, 2 polarisations
    assert written.thermal_rms_jy == pytest.approx(written.sigma_jy / np.sqrt(15 * 3 * 4 * 2))


def test_the_same_spec_gives_the_same_data(tmp_path):
    noisy = spec(sefd_jy=6500.0, gains=GainSpec())
    _, first = simulated(tmp_path / "1", noisy)
    _, second = simulated(tmp_path / "2", noisy)
    _, third = simulated(tmp_path / "3", dataclasses.replace(noisy, seed=9))
    assert (first == second).all()
    assert (first != third).any()


def test_the_command_writes_both_tiles_their_truth_and_a_catalogue(tmp_path):
    out = io.StringIO()
    arguments = [str(tmp_path / "raw"), "--size", "tiny", "--before", "2026-11-24T02:00:00"]
    call_command("absurd_simulate", *arguments, stdout=out)
    assert "target      2026-11-23T13:19:27  16 files, 3 sources" in out.getvalue()
    truths = [TileTruth.load(tmp_path / "raw", spec.name) for spec in tiny_tiles(NOW)]
    assert [truth.kind for truth in truths] == ["calibrator", "target"]
    assert all((tmp_path / "raw" / name).is_file() for truth in truths for name in truth.files)
    with (tmp_path / "raw" / "catalog.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["name"], float(row["flux_jy"])) for row in rows] == [(s.name, s.flux_jy) for s in truths[1].sources]
    assert float(rows[0]["ra_deg"]) == pytest.approx(truths[1].sources[0].ra_deg, abs=1e-6)
    with pytest.raises(CommandError, match="holds raw files already"):
        call_command("absurd_simulate", *arguments)


def test_it_refuses_a_start_without_a_time_zone_and_more_antennas_than_observe():
    with pytest.raises(ValueError, match="time zone"):
        spec(start_time=datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="96 are active"):
        pick_stations(97)
