from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h5py
import numpy as np
import pytest
from django.core.management import CommandError, call_command

from pipeline_app import telescope
from pipeline_app.calibrators import beam_weighted_flux_jy, calibrator
from pipeline_app.naming import parse_raw_name
from pipeline_app.simulation import (
    DEMO,
    TINY,
    AntennaFault,
    Burst,
    Carrier,
    Defects,
    FieldSpec,
    GainSpec,
    LostSamples,
    RollOff,
    SmearingSpec,
    Source,
    TileSpec,
    TileTruth,
    WeakIntegration,
    hour_tiles,
    simulate_tile,
    tile_pair,
)
from pipeline_app.simulation.geometry import meridian_direction, pick_stations, pointing_icrs_deg
from pipeline_app.simulation.presets import SIZES, field_of
from pipeline_app.simulation.tile import thermal_rms_jy
from tests.pipeline_app.tiles import PERFECT_GAINS

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
        gains=PERFECT_GAINS,
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
        tile_pair(NOW, TINY)[0],
        gains=PERFECT_GAINS,
        sefd_jy=0.0,
        subbands=(8,),
        n_times=1,
        integration_time_sec=309.0,
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
    first, second = tile_pair(NOW, DEMO)
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
    first, second = tile_pair(now, DEMO)
    assert second.start_time + timedelta(seconds=second.duration_sec) <= now
    assert now - first.start_time < timedelta(hours=26)


def test_target_sources_are_off_centre_apart_and_between_50_mjy_and_1_jy():
    target = tile_pair(NOW, DEMO)[1]
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


def test_smearing_is_that_of_many_samples_within_a_channel_and_an_integration(tmp_path):
    """96 antennas, and a source at half power: only the longest baselines lose enough to tell a wrong width."""
    start = START + timedelta(seconds=10)
    ra_deg, dec_deg = pointing_icrs_deg(54.6, START)
    far = (Source(name="far", ra_deg=ra_deg + 2.2, dec_deg=dec_deg + 0.6, flux_jy=1.0),)
    coarse = spec(
        sources=far, beam=False, n_antennas=96, n_times=1, subbands=(0,), channels_per_subband=3, start_time=start
    )
    parts, per_channel = 9, 16
    step_sec = coarse.integration_time_sec / parts
    fine = dataclasses.replace(
        coarse, n_times=parts, integration_time_sec=step_sec, channels_per_subband=3 * per_channel
    )
    file, smeared = simulated(tmp_path / "coarse", dataclasses.replace(coarse, smearing=SmearingSpec()))
    _, unsmeared = simulated(tmp_path / "none", coarse)
    fine_file, samples = simulated(tmp_path / "fine", fine)

    # The correlator follows the phase centre through an integration; each fine one is stopped at hour angle 0.
    positions = file["Header/antenna_positions"][()]
    number_row = {int(number): row for row, number in enumerate(file["Header/antenna_numbers"][()])}
    first, second = ([number_row[int(n)] for n in numbers] for numbers in pairs(file))
    centre = meridian_direction(54.6)
    turn_rad = np.radians(telescope.SIDEREAL_RATE_DEG_PER_SEC) * step_sec * (np.arange(parts) - (parts - 1) / 2)
    moved = np.stack(
        [
            np.cos(turn_rad) * centre[0] + np.sin(turn_rad) * centre[1],
            -np.sin(turn_rad) * centre[0] + np.cos(turn_rad) * centre[1],
            np.full(parts, centre[2]),
        ],
        axis=-1,
    )
    delay_sec = (moved - centre) @ (positions[second] - positions[first]).T / telescope.SPEED_OF_LIGHT_M_S
    freqs_hz = fine_file["Header/freq_array"][0]
    followed = samples[..., 0] * np.exp(-2j * np.pi * delay_sec[..., None] * freqs_hz)
    expected = followed.mean(axis=0).reshape(len(first), 3, per_channel).mean(axis=-1)

    assert np.abs(np.abs(expected) - 1).max() > 0.1
    assert np.abs(smeared[0, ..., 0] - expected).max() < 3e-3
    assert np.abs(unsmeared[0, ..., 0] - expected).max() > 0.1


def test_a_drift_within_the_tile_turns_the_phases_and_is_in_the_truth(tmp_path):
    ra_deg, dec_deg = pointing_icrs_deg(54.6, START)
    source = Source(name="a", ra_deg=ra_deg + 0.2, dec_deg=dec_deg, flux_jy=1.0)
    file, steady = simulated(tmp_path / "steady", spec(sources=(source,)))
    _, drifting = simulated(
        tmp_path / "drift", spec(sources=(source,), gains=dataclasses.replace(PERFECT_GAINS, slope_phase_deg=30.0))
    )
    slopes_deg = TileTruth.load(tmp_path / "drift", "2026-11-23T12:17:36").phase_slopes_deg
    names = TileTruth.load(tmp_path / "drift", "2026-11-23T12:17:36").antenna_names
    row = {int(name) - 1: index for index, name in enumerate(names)}
    first, second = ([row[number] for number in numbers] for numbers in pairs(file))
    turned = drifting / steady
    from_first_to_last_deg = np.degrees(np.angle(turned[2] / turned[0]))[:, 0]
    # three integrations: from the middle of the first to the middle of the last is two thirds of the tile
    assert from_first_to_last_deg == pytest.approx((slopes_deg[first] - slopes_deg[second]) * 2 / 3, abs=0.05)
    assert np.abs(from_first_to_last_deg).max() > 10
    assert turned[1] == pytest.approx(1.0, abs=1e-4)


def test_defects_are_where_they_were_asked_for_and_in_the_truth(tmp_path):
    ra_deg, dec_deg = pointing_icrs_deg(54.6, START)
    bright = Source(name="a", ra_deg=ra_deg, dec_deg=dec_deg, flux_jy=1000.0)
    tile = spec(n_antennas=20, n_times=4, channels_per_subband=4, sources=(bright,), sefd_jy=6500.0)
    noise_only, dead, one_hand = (pad.number for pad in pick_stations(20)[:3])
    defects = Defects(
        bursts=(Burst(time_index=1, subband=0, noise_multiple=50.0),),
        carriers=(Carrier(subband=0, channel=2, noise_multiple=20.0),),
        antennas=(
            AntennaFault(station=noise_only),
            AntennaFault(station=dead, kind="zero"),
            AntennaFault(station=one_hand, polarization="YY"),
        ),
        weak=(WeakIntegration(time_index=2, factor=0.01),),
        lost=(LostSamples(time_index=3, subband=0),),
    )
    _, clean = simulated(tmp_path / "clean", tile)
    file, data = simulated(tmp_path / "bad", dataclasses.replace(tile, defects=defects))
    first, second = pairs(file)
    sigma_jy = TileTruth.load(tmp_path / "bad", "2026-11-23T12:17:36").sigma_jy

    def rows(station: int) -> np.ndarray:
        return ((first == station - 1) ^ (second == station - 1)) & (first != second)

    healthy = ~(rows(noise_only) | rows(dead) | rows(one_hand)) & (first != second)
    added = data - clean
    assert np.abs(added[1][healthy][:, [0, 1, 3]]) == pytest.approx(50 * sigma_jy, rel=1e-4)
    assert np.abs(added[0][healthy][:, 2]) == pytest.approx(20 * sigma_jy, rel=1e-4)
    assert np.abs(added[0][healthy][:, [0, 1, 3]]).max() == 0
    assert data[2][healthy][:, [0, 1, 3]] == pytest.approx(0.01 * clean[2][healthy][:, [0, 1, 3]], rel=1e-4)
    assert (data[:, rows(dead)] == 0).all()
    for station, hands in ((noise_only, [0, 1]), (one_hand, [1])):
        assert np.abs(data[0][rows(station) & ~rows(dead)][:, :2][..., hands]).mean() < 3 * sigma_jy
    seen = rows(one_hand) & ~rows(dead) & ~rows(noise_only)
    assert data[0][seen][:, :2, 0] == pytest.approx(clean[0][seen][:, :2, 0])
    nsamples = file["Data/nsamples"][:, 0].reshape(4, -1, 4, 2)
    assert (nsamples[3] == 0).all()
    assert (nsamples[:3] == 1).all()
    assert np.abs(data[3][healthy]).mean() < 25 * sigma_jy < 900
    assert h5py.File(next((tmp_path / "bad").glob("*_sb01.hdf5")))["Data/nsamples"][...].all()
    assert TileTruth.load(tmp_path / "bad", "2026-11-23T12:17:36").defects == defects


def test_a_roll_off_dims_the_sky_at_the_edges_of_subbands_and_not_the_noise(tmp_path):
    ra_deg, dec_deg = pointing_icrs_deg(54.6, START)
    bright = Source(name="a", ra_deg=ra_deg, dec_deg=dec_deg, flux_jy=10.0)
    edges = Defects(roll_off=(RollOff(channels=2, response=0.2),))
    for sources, sefd_jy, response in (((bright,), 0.0, [0.2, 0.6, 1, 1, 0.6, 0.2]), ((), 6500.0, [1.0] * 6)):
        tile = spec(n_antennas=4, channels_per_subband=6, sources=sources, sefd_jy=sefd_jy)
        _, clean = simulated(tmp_path / f"clean {sefd_jy}", tile)
        file, data = simulated(tmp_path / f"dimmed {sefd_jy}", dataclasses.replace(tile, defects=edges))
        first, second = pairs(file)
        cross = first != second
        assert (data / clean)[:, cross] == pytest.approx(
            np.broadcast_to(np.array(response)[:, None], data[:, cross].shape), rel=1e-4
        )
    truth = TileTruth.load(tmp_path / "dimmed 0.0", "2026-11-23T12:17:36")
    assert truth.defects == edges
    gains = TileTruth.load(tmp_path / "clean 0.0", "2026-11-23T12:17:36").gains
    assert np.abs(truth.gains / gains)[0, 0, :6] ** 2 == pytest.approx([0.2, 0.6, 1, 1, 0.6, 0.2])


@pytest.mark.parametrize(
    "defects",
    [
        Defects(roll_off=(RollOff(channels=2, response=0.5),)),
        Defects(roll_off=(RollOff(channels=1, response=0.0),)),
        Defects(bursts=(Burst(time_index=3, subband=0, noise_multiple=1.0),)),
        Defects(carriers=(Carrier(subband=2, channel=0, noise_multiple=1.0),)),
        Defects(carriers=(Carrier(subband=0, channel=2, noise_multiple=1.0),)),
    ],
)
def test_a_defect_outside_the_tile_is_refused(defects):
    with pytest.raises(ValueError, match=r"must be in|has no subband"):
        spec(defects=defects)


def test_a_faint_field_has_the_signal_to_noise_that_was_asked_for(tmp_path):
    tile = tile_pair(NOW, DEMO)[1]
    faint = field_of(tile, FieldSpec(count=40, flux_jy=None, snr=(5, 50)), thermal_rms_jy=thermal_rms_jy(tile))
    ra_deg, dec_deg = pointing_icrs_deg(tile.declination_deg, tile.mid_time)
    offsets_deg = telescope.angular_separation_deg(
        [s.ra_deg for s in faint], [s.dec_deg for s in faint], ra_deg, dec_deg
    )
    apparent_jy = [s.flux_jy for s in faint] * telescope.power_beam(offsets_deg, telescope.REFERENCE_FREQ_HZ)
    snr = sorted(apparent_jy / thermal_rms_jy(tile))
    assert (snr[0], snr[-1]) == pytest.approx((5, 50), rel=0.01)
    assert len(faint) == 40


def test_tiles_of_an_hour_follow_each_other_under_one_sky():
    first, *targets = hour_tiles(NOW, SIZES["tiny"])
    assert len(targets) == 12
    for one, next_one in itertools.pairwise(targets):
        gap_sec = (next_one.start_time - one.start_time).total_seconds()
        assert gap_sec == pytest.approx(telescope.TILE_DURATION_SEC, abs=1e-3)
    assert targets[0].start_time > first.start_time
    assert targets[-1].start_time + timedelta(seconds=targets[-1].duration_sec) <= NOW
    shared = {s.name for s in targets[3].sources} & {s.name for s in targets[4].sources}
    assert shared
    places = {s.name: (s.ra_deg, s.dec_deg, s.flux_jy) for s in targets[3].sources}
    assert all((s.ra_deg, s.dec_deg, s.flux_jy) == places[s.name] for s in targets[4].sources if s.name in shared)
    known = calibrator("0834+555")
    for target in targets:
        ra_deg, dec_deg = pointing_icrs_deg(target.declination_deg, target.mid_time)
        assert known.offset_deg(ra_deg, dec_deg) > 3.2


def test_the_command_takes_defects_and_a_field_across_ra_zero(tmp_path):
    raw = tmp_path / "raw"
    arguments = ["--size", "tiny", "--before", "2026-11-24T02:00:00", "--target-ra-deg", "0", "--sources", "8"]
    arguments += ["--burst", "1:2:5", "--noise-only", "20:XX", "--gain-phase-deg", "20", "--calibrator-factor", "1.1"]
    call_command("absurd_simulate", str(raw), *arguments, "--smearing", stdout=io.StringIO())
    first, second = (TileTruth.load(raw, path.name.removesuffix("_truth.json")) for path in sorted(raw.glob("*.json")))
    assert first.sources[0].flux_jy == pytest.approx(1.1 * calibrator("0834+555").flux_jy)
    assert second.pointing_ra_deg == pytest.approx(0, abs=0.01) or second.pointing_ra_deg > 359.99
    sides = {source.ra_deg < 180 for source in second.sources}
    assert sides == {True, False}
    assert second.defects.bursts == (Burst(time_index=1, subband=2, noise_multiple=5.0),)
    assert second.defects.antennas == (AntennaFault(station=20, polarization="XX"),)
    assert first.defects == Defects()
    assert second.smearing == SmearingSpec()
    turned = np.angle((second.gains / first.gains).mean(axis=-1), deg=True)
    assert 8 < turned.std() < 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dead", "5"], "station 5 is not in the tile"),
        (["--burst", "9:2:3"], "time_index must be in 0..3"),
        (["--flux-jy", "1", "2", "--snr", "1", "2"], "exclude each other"),
        (["--hour", "--sources", "3"], "sky of its own"),
    ],
)
def test_the_command_refuses_what_cannot_be_simulated_before_it_writes(tmp_path, arguments, message):
    with pytest.raises(CommandError, match=message) as refused:
        call_command("absurd_simulate", str(tmp_path / "raw"), "--size", "tiny", *arguments)
    assert refused.value.returncode == 2
    assert not (tmp_path / "raw").exists()


def test_the_command_writes_both_tiles_their_truth_and_a_catalogue(tmp_path):
    out = io.StringIO()
    arguments = [str(tmp_path / "raw"), "--size", "tiny", "--before", "2026-11-24T02:00:00"]
    call_command("absurd_simulate", *arguments, stdout=out)
    assert "target      2026-11-23T13:19:27  16 files, 3 sources" in out.getvalue()
    truths = [TileTruth.load(tmp_path / "raw", spec.name) for spec in tile_pair(NOW, TINY)]
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
