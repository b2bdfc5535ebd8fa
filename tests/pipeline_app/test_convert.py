from __future__ import annotations

import dataclasses
import random
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.optimize import minimize

from pipeline_app import telescope
from pipeline_app.simulation import TINY, GainSpec, Source, TileSpec, TileTruth, simulate_tile, tile_pair
from pipeline_app.simulation.geometry import pointing_icrs_deg
from pipeline_app.stages.convert import ConvertParams, ConvertResult
from tasks_app.engine.handler import InvalidInput
from tasks_app.testing import LocalContext
from tests.pipeline_app.tiles import PERFECT_GAINS

pytestmark = pytest.mark.casa

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
BASE = dataclasses.replace(tile_pair(NOW, TINY)[1], gains=PERFECT_GAINS, sefd_jy=0.0)
RA_DEG, DEC_DEG = pointing_icrs_deg(BASE.declination_deg, BASE.mid_time)


def source(east_deg: float, north_deg: float, flux_jy: float = 1.0) -> Source:
    dec_deg = DEC_DEG + north_deg
    return Source(
        name="s", ra_deg=RA_DEG + east_deg / np.cos(np.radians(dec_deg)), dec_deg=dec_deg, flux_jy=flux_jy, alpha=-0.7
    )


def convert(paths: list[Path], directory: Path, name: str | None = None) -> ConvertResult:
    from pipeline_app.casa.convert import run

    return run(ConvertParams(paths=[str(path) for path in paths], name=name), LocalContext(directory))


def converted(spec: TileSpec, directory: Path) -> tuple[TileTruth, ConvertResult]:
    truth = simulate_tile(directory / "raw", spec)
    return truth, convert([directory / "raw" / name for name in truth.files], directory / "out")


@dataclass(frozen=True)
class Table:
    """What a Measurement Set holds, cross-correlations only."""

    data: np.ndarray
    flag: np.ndarray
    uvw_m: np.ndarray
    antennas: np.ndarray
    times_mjd: np.ndarray
    freqs_hz: np.ndarray
    centre_deg: np.ndarray

    def dirty_flux_jy(self, ra_deg: float, dec_deg: float) -> complex:
        """Sum the visibilities towards a direction, w included, in the convention of CASA's imagers."""
        ra, dec, ra0, dec0 = np.radians([ra_deg, dec_deg, *self.centre_deg])
        l = np.cos(dec) * np.sin(ra - ra0)  # noqa: E741
        m = np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(ra - ra0)
        path_m = self.uvw_m @ [l, m, np.sqrt(1 - l**2 - m**2) - 1]
        turned = (
            self.data * np.exp(-2j * np.pi * path_m[:, None] * self.freqs_hz / telescope.SPEED_OF_LIGHT_M_S)[..., None]
        )
        return complex(turned[~self.flag].mean())

    def peak_offset_arcsec(self, ra_deg: float, dec_deg: float) -> tuple[float, float]:
        """Find the maximum near a direction and return how far east and north of it that is."""
        scale = np.cos(np.radians(dec_deg)) * 3600
        found = minimize(
            lambda off: -abs(self.dirty_flux_jy(ra_deg + off[0] / scale, dec_deg + off[1] / 3600)),
            [0.0, 0.0],
            method="Nelder-Mead",
            options={"xatol": 1e-3, "fatol": 1e-10, "initial_simplex": [[0, 0], [5, 0], [0, 5]]},
        )
        return float(found.x[0]), float(found.x[1])


def read(ms_path: str) -> Table:
    from casacore import tables

    with tables.table(ms_path, ack=False) as main:
        antennas = np.stack([main.getcol("ANTENNA1"), main.getcol("ANTENNA2")], axis=-1)
        cross = antennas[:, 0] != antennas[:, 1]
        columns = {name: main.getcol(name)[cross] for name in ("DATA", "FLAG", "UVW", "TIME")}
    with tables.table(f"{ms_path}::SPECTRAL_WINDOW", ack=False) as window:
        freqs_hz = window.getcell("CHAN_FREQ", 0)
    with tables.table(f"{ms_path}::FIELD", ack=False) as fields:
        centre = fields.getcell("PHASE_DIR", 0).ravel()
    return Table(
        data=columns["DATA"],
        flag=columns["FLAG"],
        uvw_m=columns["UVW"],
        antennas=antennas[cross],
        times_mjd=columns["TIME"] / 86400,
        freqs_hz=freqs_hz,
        centre_deg=np.degrees(centre),
    )


@pytest.fixture(scope="module")
def tile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TileTruth]:
    """A noisy tile with gains, of one off-centre source; tests that change files copy them first."""
    directory = tmp_path_factory.mktemp("tile")
    spec = dataclasses.replace(BASE, sources=(source(0.4, -0.3),), gains=GainSpec(), sefd_jy=6500.0, n_antennas=6)
    return directory, simulate_tile(directory, spec)


@pytest.fixture
def files(tile: tuple[Path, TileTruth], tmp_path: Path) -> list[Path]:
    """Copies of the tile's files, from subband 0."""
    directory, truth = tile
    raw = tmp_path / "raw"
    raw.mkdir()
    return [Path(shutil.copy(directory / name, raw)) for name in truth.files]


@pytest.mark.parametrize("offsets_deg", [(0.03, 0.02), (0.7, -0.5), (-0.8, 1.1)])
def test_a_source_is_found_at_its_catalogue_position_with_its_whole_flux(tmp_path, offsets_deg):
    target = dataclasses.replace(source(*offsets_deg), alpha=0.0)
    spec = dataclasses.replace(BASE, sources=(target,), beam=False, n_antennas=24)
    _, result = converted(spec, tmp_path)
    table = read(result.ms_path)
    assert table.dirty_flux_jy(target.ra_deg, target.dec_deg) == pytest.approx(1.0, abs=1e-3)
    east_arcsec, north_arcsec = table.peak_offset_arcsec(target.ra_deg, target.dec_deg)
    assert np.hypot(east_arcsec, north_arcsec) < 0.02
    mirrored = 2 * table.centre_deg - [target.ra_deg, target.dec_deg]
    assert abs(table.dirty_flux_jy(*mirrored)) < 0.6
    assert np.abs(table.data) == pytest.approx(1.0, abs=1e-5)


def test_the_beam_drifts_with_the_tile(tmp_path):
    target = source(0.6, 0.5, flux_jy=3.0)
    _, result = converted(dataclasses.replace(BASE, sources=(target,)), tmp_path)
    table = read(result.ms_path)
    middles = (np.arange(BASE.n_times) + 0.5) / BASE.n_times - 0.5
    drifted_deg = middles * BASE.duration_sec * telescope.SIDEREAL_RATE_DEG_PER_SEC
    offsets_deg = telescope.angular_separation_deg(target.ra_deg, target.dec_deg, RA_DEG + drifted_deg, DEC_DEG)
    expected_jy = np.mean(
        [target.flux_at(freq_hz) * telescope.power_beam(offsets_deg, freq_hz).mean() for freq_hz in table.freqs_hz]
    )
    assert table.dirty_flux_jy(target.ra_deg, target.dec_deg).real == pytest.approx(expected_jy, rel=2e-3)
    by_time = [np.abs(table.data[table.times_mjd == time]).mean() for time in np.unique(table.times_mjd)]
    assert by_time == sorted(by_time), "a source in the east comes into the beam"


def test_gains_in_the_measurement_set_are_the_conjugates_of_the_raw_ones(tmp_path):
    plain = dataclasses.replace(BASE, sources=(source(0.3, 0.2),))
    _, perfect = converted(plain, tmp_path / "perfect")
    truth, corrupted = converted(dataclasses.replace(plain, gains=GainSpec(seed=4)), tmp_path / "gains")
    before, after = read(perfect.ms_path), read(corrupted.ms_path)
    assert after.freqs_hz == pytest.approx(truth.freqs_hz)
    first, second = after.antennas.T
    expected = truth.gains[first].conj() * truth.gains[second]
    assert after.data / before.data == pytest.approx(np.swapaxes(expected, 1, 2), rel=1e-3)


def test_it_describes_the_array_as_casa_wants_it(tile, tmp_path):
    from casacore import tables

    directory, truth = tile
    result = convert([directory / name for name in truth.files], tmp_path)
    with tables.table(f"{result.ms_path}::ANTENNA", ack=False) as antennas:
        assert tuple(antennas.getcol("NAME")) == truth.antenna_names
        assert set(antennas.getcol("MOUNT")) == {"ALT-AZ"}
        assert antennas.getcol("DISH_DIAMETER") == pytest.approx(4.65)
        by_number = {str(s.number): s.itrf_m for s in telescope.stations()}
        surveyed = np.array([by_number[name] for name in truth.antenna_names])
        assert antennas.getcol("POSITION") == pytest.approx(surveyed, abs=1e-3)
    with tables.table(f"{result.ms_path}::OBSERVATION", ack=False) as observation:
        assert observation.getcol("TELESCOPE_NAME") == ["OVRO_MMA"]
    with tables.table(result.ms_path, ack=False) as main:
        assert (main.getcol("WEIGHT") > 0).all()
        assert set(main.getcol("DATA_DESC_ID")) == {0}
    table = read(result.ms_path)
    assert (table.antennas[:, 0] < table.antennas[:, 1]).all()


def test_the_result_describes_what_was_written(tile, tmp_path):
    directory, truth = tile
    result = convert([directory / name for name in truth.files], tmp_path)
    assert result.name == truth.name == Path(result.ms_path).stem
    assert result.mid_time_mjd == pytest.approx(truth.mid_time_mjd, abs=1e-8)
    assert result.duration_sec == pytest.approx(truth.duration_sec, abs=1e-3)
    assert result.start_time_mjd == pytest.approx(truth.mid_time_mjd - truth.duration_sec / 2 / 86400, abs=1e-8)
    assert result.phase_ra_deg == pytest.approx(truth.pointing_ra_deg, abs=1e-6)
    assert result.phase_dec_deg == pytest.approx(truth.pointing_dec_deg, abs=1e-6)
    assert result.declination_deg == pytest.approx(truth.declination_deg)
    assert (result.n_antennas, result.n_baselines, result.n_times, result.n_channels) == (6, 21, 4, 16)
    assert (result.n_subbands, result.missing_subbands, result.reasons) == (16, [], [])
    assert result.flagged_fraction == 0
    assert (result.freq_min_hz, result.freq_max_hz) == (truth.freqs_hz[0], truth.freqs_hz[-1])


def test_the_pointing_follows_the_meridian(tile, tmp_path):
    from casacore import tables

    directory, truth = tile
    result = convert([directory / name for name in truth.files], tmp_path)
    with tables.table(f"{result.ms_path}::POINTING", ack=False) as pointing:
        ra_deg, dec_deg = np.degrees(pointing.getcol("DIRECTION")[:, 0]).T
        times_mjd = pointing.getcol("TIME") / 86400
    elapsed_sec = np.ptp(times_mjd) * 86400
    # right ascensions of J2000 do not pass the meridian at quite the rate of those of date
    assert np.ptp(ra_deg) == pytest.approx(elapsed_sec * telescope.SIDEREAL_RATE_DEG_PER_SEC, rel=5e-3)
    assert ra_deg.mean() == pytest.approx(truth.pointing_ra_deg, abs=1e-3)
    assert dec_deg == pytest.approx(truth.pointing_dec_deg, abs=5e-3)


def test_neither_order_nor_names_of_the_files_matter(tile, files, tmp_path):
    directory, truth = tile
    renamed = [path.rename(path.with_name(f"{index:x}.anything")) for index, path in enumerate(files)]
    random.Random(3).shuffle(renamed)
    plain = read(convert([directory / name for name in truth.files], tmp_path / "plain").ms_path)
    other = read(convert(renamed, tmp_path / "other").ms_path)
    for column in ("data", "uvw_m", "flag", "antennas", "times_mjd", "freqs_hz"):
        assert np.array_equal(getattr(plain, column), getattr(other, column)), column


def test_what_cannot_be_a_visibility_is_flagged_and_emptied(files, tmp_path):
    with h5py.File(files[5], "r+") as file:
        data = file["Data/visdata"]
        bad = data[()]
        bad[3, 0, 0, 0] = np.nan
        bad[4, 0, 0, 1] = complex(0, np.inf)
        bad[5, 0, 0, 0] = 1e32
        bad[6, 0, 0, 0] = 0
        data[()] = bad
    result = convert(files, tmp_path / "out")
    assert result.nonfinite_or_wild_flagged == 3
    assert result.flagged_fraction == pytest.approx(4 / (84 * 16 * 2))
    table = read(result.ms_path)
    assert np.isfinite(table.data).all()
    assert np.abs(table.data).max() < 1e4


def test_autocorrelations_are_not_wild_for_being_strong(files, tmp_path):
    with h5py.File(files[0], "r+") as file:
        data = file["Data/visdata"][()]
        autos = file["Header/ant_1_array"][()] == file["Header/ant_2_array"][()]
        data[autos] *= 1e5
        file["Data/visdata"][()] = data
    assert convert(files[:1], tmp_path / "out").nonfinite_or_wild_flagged == 0


def test_a_position_in_the_header_that_is_not_the_surveyed_one_is_a_reason(files, tmp_path):
    with h5py.File(files[0], "r+") as file:
        file["Header/longitude"][()] = -118.28300
    result = convert(files[:1], tmp_path / "out")
    assert any("36." in warning and "surveyed" in warning for warning in result.reasons)


def test_flags_of_the_correlator_are_kept(files, tmp_path):
    with h5py.File(files[2], "r+") as file:
        flags = file["Data/flags"][()]
        flags[:, :, :, 1] = True
        file["Data/flags"][()] = flags
    table = read(convert(files, tmp_path / "out").ms_path)
    assert table.flag[:, 13, 1].all()
    assert table.flag.sum() == table.flag[:, 13, 1].sum()


def test_a_missing_subband_leaves_flagged_channels_in_their_place(files, tmp_path):
    result = convert(files[:3] + files[4:15], tmp_path)
    assert result.missing_subbands == [3, 15]
    assert result.n_subbands == 14
    assert any("3, 15" in warning for warning in result.reasons)
    table = read(result.ms_path)
    assert len(table.freqs_hz) == 16
    assert np.diff(table.freqs_hz) == pytest.approx(11.71875e6)
    assert list(np.flatnonzero(table.flag.all(axis=(0, 2)))) == [0, 12]
    assert result.flagged_fraction == pytest.approx(2 / 16)


def test_rows_that_a_subband_lacks_are_flagged(files, tmp_path):
    with h5py.File(files[7], "r+") as file:
        n_kept = int(file["Header/Nblts"][()]) - int(file["Header/Nbls"][()])
        for name in ("ant_1_array", "ant_2_array", "uvw_array", "time_array", "integration_time"):
            _shorten(file["Header"], name, n_kept)
        for name in ("visdata", "flags", "nsamples"):
            _shorten(file["Data"], name, n_kept)
        file["Header/Nblts"][()] = n_kept
        file["Header/Ntimes"][()] = 3
    result = convert(files, tmp_path)
    assert any("21 rows missing" in warning for warning in result.reasons)
    table = read(result.ms_path)
    last = table.times_mjd == table.times_mjd.max()
    assert table.flag[last, 8].all()
    assert not table.flag[~last].any()
    assert not table.flag[last][:, np.arange(16) != 8].any()


def _shorten(group: h5py.Group, name: str, count: int) -> None:
    values = group[name][:count]
    del group[name]
    group[name] = values


def test_it_refuses_files_of_two_tiles(files, tmp_path):
    later = tmp_path / "later"
    truth = simulate_tile(later, dataclasses.replace(tile_pair(NOW, TINY)[0], n_antennas=6, subbands=(4,)))
    with pytest.raises(InvalidInput, match="another time"):
        convert([*files[:4], later / truth.files[0]], tmp_path / "out")


def test_it_refuses_the_same_subband_twice(files, tmp_path):
    twice = Path(shutil.copy(files[0], files[0].with_name("again.hdf5")))
    with pytest.raises(InvalidInput, match="repeats frequencies"):
        convert([*files, twice], tmp_path / "out")


def test_it_refuses_a_missing_file_and_one_that_is_not_hdf5(files, tmp_path):
    with pytest.raises(InvalidInput, match="does not exist"):
        convert([tmp_path / "nothing.hdf5"], tmp_path / "out")
    files[1].write_bytes(files[1].read_bytes()[:5000])
    with pytest.raises(InvalidInput, match=files[1].name):
        convert(files, tmp_path / "out")


def test_it_refuses_a_drift_file_without_its_declination(files, tmp_path):
    with h5py.File(files[0], "r+") as file:
        del file["Header/extra_keywords/phase_center_dec"], file["Header/phase_center_app_dec"]
    with pytest.raises(InvalidInput, match="pointing is unknown"):
        convert(files[:1], tmp_path / "out")


def test_another_telescopes_own_phase_centre_is_honoured(tmp_path):
    from pipeline_app.casa.raw import read_header
    from pipeline_app.casa.subband import PhaseCentre, read_subband, rephase

    target = source(0.3, 0.2)
    truth, result = converted(dataclasses.replace(BASE, sources=(target,), subbands=(6, 7)), tmp_path)
    foreign = []
    for name in truth.files:
        subband = read_subband(read_header(tmp_path / "raw" / name))
        rephase(subband, PhaseCentre(ra_deg=target.ra_deg, dec_deg=target.dec_deg))
        subband.telescope.name = "NOWHERE"
        subband.extra_keywords = {}
        foreign.append(tmp_path / f"{name}.uvh5")
        subband.write_uvh5(str(foreign[-1]), run_check=False)
    other = convert(foreign, tmp_path / "foreign", name="other")
    assert (other.telescope_name, other.name, other.n_channels) == ("NOWHERE", "other", 2)
    assert other.reasons == ["CASA does not know the telescope NOWHERE"]
    assert other.phase_ra_deg == pytest.approx(target.ra_deg, abs=1e-9)
    assert other.phase_dec_deg == pytest.approx(target.dec_deg, abs=1e-9)
    table = read(other.ms_path)
    assert np.abs(np.angle(table.data)).max() < 1e-3, "the source is at the phase centre"
    assert np.abs(table.data).mean() == pytest.approx(np.abs(read(result.ms_path).data[:, 8:10]).mean(), rel=1e-3)


def test_casa_lists_it_without_an_error(tile, tmp_path):
    directory, truth = tile
    result = convert([directory / name for name in truth.files], tmp_path)
    from casatasks import listobs

    from pipeline_app.casa.runtime import checked

    checked(listobs, vis=result.ms_path, listfile=str(tmp_path / "listobs.txt"))
    listing = (tmp_path / "listobs.txt").read_text()
    assert "OVRO_MMA" in listing
    assert "Antennas: 6" in listing
