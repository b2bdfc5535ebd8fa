"""Interference and failures at the level of the noise; `streamed` says why tiles are as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline_app.simulation import (
    AntennaFault,
    Burst,
    Carrier,
    Defects,
    LostSamples,
    RollOff,
    WeakIntegration,
    simulate_tile,
)
from tasks_app.testing import LocalContext
from tests.pipeline_app.streamed import SOURCE_JY, SUBBANDS, Streamed, read_back, spec_of, streamed, true_calibration

pytestmark = pytest.mark.casa

CHANNELS = 48
RADIO = Defects(
    bursts=(
        Burst(time_index=3, subband=4, noise_multiple=2.0),
        Burst(time_index=9, subband=4, noise_multiple=5.0),
        Burst(time_index=17, subband=6, noise_multiple=20.0),
    ),
    carriers=(
        Carrier(subband=3, channel=10, noise_multiple=2.0),
        Carrier(subband=5, channel=47, noise_multiple=2.0),
    ),
    weak=(WeakIntegration(time_index=20, factor=1e-4),),
    lost=(LostSamples(time_index=13, subband=3),),
)


def channels_of(tile: Streamed, subband: int) -> np.ndarray:
    """Return where a subband's channels are, in the order of its file: the band is the correlator's whole one."""
    start = len(tile.freqs_hz) - (subband + 1) * CHANNELS
    return np.arange(start + CHANNELS - 1, start - 1, -1)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Streamed:
    return streamed(tmp_path_factory.mktemp("clean"), spec_of())


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Streamed:
    return streamed(tmp_path_factory.mktemp("disturbed"), spec_of(defects=RADIO))


def held(tile: Streamed) -> np.ndarray:
    """Return which of the band's channels the tile has."""
    return np.concatenate([channels_of(tile, subband) for subband in SUBBANDS])


def test_bursts_carriers_weak_and_lost_integrations_are_flagged_and_little_else(disturbed: Streamed) -> None:
    wrong = np.zeros(disturbed.flag.shape, dtype=bool)
    for placed in (*RADIO.bursts, *RADIO.lost):
        wrong[placed.time_index][:, channels_of(disturbed, placed.subband)] = True
    for carrier in RADIO.carriers:
        wrong[:, :, channels_of(disturbed, carrier.subband)[carrier.channel]] = True
    wrong[RADIO.weak[0].time_index] = True
    for placed in (*RADIO.bursts, *RADIO.lost):
        cell = disturbed.flag[placed.time_index][:, channels_of(disturbed, placed.subband)]
        assert cell.mean() >= 0.95, placed
    for carrier in RADIO.carriers:
        assert disturbed.flag[:, :, channels_of(disturbed, carrier.subband)[carrier.channel]].mean() >= 0.95, carrier
    assert disturbed.flag[RADIO.weak[0].time_index].mean() >= 0.95
    others = disturbed.flag[:, :, held(disturbed)][~wrong[:, :, held(disturbed)]]
    assert others.mean() < 0.01
    counts = disturbed.result.flag_counts
    assert counts.n_bad_channels == 2
    assert 0.05 < counts.interference_fraction < 0.12
    assert any("interference" in reason for reason in disturbed.result.reasons)


def test_calibration_apply_flags_the_same_in_a_measurement_set(disturbed: Streamed, tmp_path: Path) -> None:
    """Converted and calibrated in two stages, the disturbed tile loses what the one pass takes from it."""
    from pipeline_app.casa import calibration_apply, convert
    from pipeline_app.stages.calibration_apply import CalibrationApplyParams
    from pipeline_app.stages.convert import ConvertParams

    truth = simulate_tile(tmp_path / "raw", spec_of(defects=RADIO))
    paths = [str(tmp_path / "raw" / name) for name in truth.files]
    converted = convert.run(ConvertParams(paths=paths, name="tile"), LocalContext(tmp_path / "ms"))
    calibration = str(true_calibration(truth, tmp_path / "true.cal"))
    params = CalibrationApplyParams(ms_path=converted.ms_path, calibration_path=calibration, max_smearing=0.0)
    applied = calibration_apply.run(params, LocalContext(tmp_path / "out"))
    tile = read_back(Path(applied.ms_path), truth, disturbed.result)
    assert np.array_equal(tile.antenna1, disturbed.antenna1)
    ours, theirs = tile.flag[:, :, held(tile)], disturbed.flag[:, :, held(tile)]
    assert theirs.mean() > 0.05
    assert (ours != theirs).mean() < 1e-4
    source = truth.sources[0]
    assert tile.towards(source.ra_deg, source.dec_deg).real == pytest.approx(SOURCE_JY, rel=0.02)


def test_edges_of_subbands_that_pass_less_of_the_sky_weigh_less_and_are_not_flagged(tmp_path: Path) -> None:
    """Six channels of each edge pass down to 0.3 of the sky's power, so that their noise is up to 11 times in power."""
    defects = Defects(roll_off=(RollOff(channels=6, response=0.3),))
    tile = streamed(tmp_path, spec_of(defects=defects))
    mine = channels_of(tile, SUBBANDS[0])
    assert not tile.flag[:, :, mine].all(axis=(0, 1)).any()
    assert tile.flag[:, :, held(tile)].mean() < 1e-3
    response = np.minimum(np.arange(CHANNELS), np.arange(CHANNELS)[::-1]) / 6
    response = 0.3 + 0.7 * np.sin(np.pi / 2 * np.minimum(response, 1.0)) ** 2
    weight = tile.used[:, :, mine].mean(axis=(0, 1, 3))
    sky = SOURCE_JY**2 / (2 * tile.truth.sigma_jy**2)  # which the power by which channels are weighed contains too
    assert weight / np.median(weight) == pytest.approx((1 + sky) / (response**-2 + sky), rel=0.05)
    best_jy = tile.truth.sigma_jy / np.sqrt(2 * tile.used[..., 0].shape[0] * tile.used.shape[1] * len(SUBBANDS))
    best_jy /= np.sqrt(np.sum(response**2))
    assert subtract_source(tile).image_rms_jy() == pytest.approx(best_jy, rel=0.05)
    source = tile.truth.sources[0]
    assert tile.towards(source.ra_deg, source.dec_deg).real == pytest.approx(SOURCE_JY, rel=0.02)


def test_the_image_is_as_quiet_as_without_them(clean: Streamed, disturbed: Streamed) -> None:
    """The noise is the same, seed by seed; what was flagged with the interference is allowed for."""
    left = np.sqrt(disturbed.used.sum() / clean.used.sum())
    empty_clean, empty = (subtract_source(tile) for tile in (clean, disturbed))
    assert empty.image_rms_jy() * left == pytest.approx(empty_clean.image_rms_jy(), rel=0.05)


def subtract_source(tile: Streamed) -> Streamed:
    """Return the tile without its only source, so that nothing but noise is in its image."""
    from dataclasses import replace

    from pipeline_app.telescope import SPEED_OF_LIGHT_M_S

    source = tile.truth.sources[0]
    ra, dec, ra0, dec0 = np.radians([source.ra_deg, source.dec_deg, *tile.centre_deg])
    l = np.cos(dec) * np.sin(ra - ra0)  # noqa: E741
    m = np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(ra - ra0)
    turns = (tile.uvw_m @ np.array([l, m, np.sqrt(1 - l**2 - m**2) - 1]))[..., None] * (
        tile.freqs_hz / SPEED_OF_LIGHT_M_S
    )
    return replace(tile, data=tile.data - source.flux_jy * np.exp(2j * np.pi * turns)[..., None])


def test_nothing_is_flagged_where_there_is_nothing_and_noise_and_flux_are_right(clean: Streamed) -> None:
    assert clean.flag[:, :, held(clean)].mean() < 1e-3
    assert clean.result.noise_median_jy == pytest.approx(clean.truth.sigma_jy, rel=0.02)
    source = clean.truth.sources[0]
    assert clean.towards(source.ra_deg, source.dec_deg).real == pytest.approx(SOURCE_JY, rel=0.02)
    assert clean.result.dead_antennas == []


def test_a_bright_source_is_not_taken_for_interference(tmp_path: Path) -> None:
    """9 Jy off the centre: more sky than noise in every visibility, as in a calibrator's own tile."""
    tile = streamed(tmp_path, spec_of(flux_jy=9.0, subbands=(3, 4)))
    mine = np.concatenate([channels_of(tile, subband) for subband in (3, 4)])
    assert tile.flag[:, :, mine].mean() < 0.002
    source = tile.truth.sources[0]
    assert tile.towards(source.ra_deg, source.dec_deg).real == pytest.approx(9.0, rel=0.01)


@pytest.mark.parametrize("polarization", [None, "YY"])
@pytest.mark.parametrize("count", [3, 5])
def test_antennas_without_sky_are_named_and_flagged_and_the_scale_holds(
    tmp_path: Path, count: int, polarization: str | None
) -> None:
    """Of 24 antennas a worse part than of 95; the source has the significance a few faint ones have in a full tile."""
    names = simulated_names()
    dead = [int(name) for name in names[2 : 2 + 2 * count : 2]]
    faults = tuple(AntennaFault(station=station, polarization=polarization) for station in dead)
    tile = streamed(tmp_path, spec_of(defects=Defects(antennas=faults)))
    hand = f" {polarization}" if polarization else ""
    assert tile.result.dead_antennas == [f"{station}{hand}" for station in dead]
    assert tile.result.verdict == "warn"
    assert any(f"{count} antennas give no sky" in reason and str(dead[0]) in reason for reason in tile.result.reasons)
    index = [names.index(str(station)) for station in dead]
    rows = np.isin(tile.antenna1, index) | np.isin(tile.antenna2, index)
    alive = tile.flag[:, ~rows][:, :, held(tile)]
    assert tile.flag[:, rows][..., 1].all() and alive.mean() < 0.001
    if polarization:
        assert tile.flag[:, rows][:, :, held(tile), 0].mean() < 0.001
    source = tile.truth.sources[0]
    assert tile.towards(source.ra_deg, source.dec_deg).real == pytest.approx(SOURCE_JY, rel=0.02)


def test_antennas_and_hands_that_deliver_zeros_are_named(tmp_path: Path) -> None:
    """One subband is enough: zeros are zeros."""
    names = [int(name) for name in simulated_names()]
    faults = (
        AntennaFault(station=names[3], kind="zero"),
        AntennaFault(station=names[8], kind="zero", polarization="YY"),
    )
    tile = streamed(tmp_path, spec_of(subbands=(5,), defects=Defects(antennas=faults)))
    assert tile.result.antennas_without_data == [str(names[3]), f"{names[8]} YY"]
    assert any(f"2 antennas have no data: {names[3]}, {names[8]} YY" in reason for reason in tile.result.reasons)
    source = tile.truth.sources[0]
    assert tile.towards(source.ra_deg, source.dec_deg).real == pytest.approx(SOURCE_JY, rel=0.03)


def test_flags_are_judged_by_what_was_injected(disturbed: Streamed, tmp_path: Path) -> None:
    """The judgement reads the Measurement Set alone; here it is compared with the flags themselves."""
    from tests.benchmark.flag_judgement import FlagJudgementParams, run

    root = Path(disturbed.result.ms_path).parent.parent.parent
    params = FlagJudgementParams(
        ms_path=disturbed.result.ms_path, truth_dir=str(root / "raw"), truth_name=disturbed.truth.name
    )
    found = run(params, LocalContext(tmp_path))
    n_times, n_channels = 24, CHANNELS * len(SUBBANDS)
    # a carrier crosses the lost integration, both the weak one
    lines = 2 * n_times + (3 + 1) * CHANNELS + n_channels - 3
    assert found.injected_fraction == pytest.approx(lines / (n_times * n_channels), rel=0.01)
    assert found.flagged_of_injected >= 0.95
    assert found.flagged_of_others < 0.01


def test_flags_of_averaged_channels_are_judged_by_their_raw_channels(tmp_path: Path) -> None:
    from tests.benchmark.flag_judgement import FlagJudgementParams, run

    carrier = Carrier(subband=5, channel=10, noise_multiple=5.0)
    tile = streamed(tmp_path, spec_of(subbands=(5,), defects=Defects(carriers=(carrier,))), max_smearing=0.02)
    assert tile.result.channels_averaged > 1
    params = FlagJudgementParams(
        ms_path=tile.result.ms_path, truth_dir=str(tmp_path / "raw"), truth_name=tile.truth.name
    )
    found = run(params, LocalContext(tmp_path / "judged"))
    assert found.injected_fraction == pytest.approx(1 / CHANNELS)
    assert found.flagged_of_injected > 0.95
    assert found.flagged_of_others < 0.01


def simulated_names() -> list[str]:
    from pipeline_app.simulation.geometry import pick_stations

    return [str(pad.number) for pad in pick_stations(24)]
