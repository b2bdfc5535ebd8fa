from __future__ import annotations

import os
import random
import threading
from datetime import timedelta
from pathlib import Path

import h5py
import pytest
from django.db import connection

from pipeline_app.calibrators import calibrator
from pipeline_app.ingest.register import age_out, ingest_directory, register, release, scan
from pipeline_app.models import Observation, ObservationState, SubbandFile
from pipeline_app.simulation.geometry import transit_before
from pipeline_app.telescope import subband_freqs_hz
from tests.pipeline_app.tiles import START, copy_tile, make_raw_tile

pytestmark = pytest.mark.django_db
TILE = timedelta(seconds=309.237)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> list[Path]:
    return make_raw_tile(tmp_path_factory.mktemp("original"))


@pytest.fixture
def files(original, tmp_path) -> list[Path]:
    return copy_tile(original, tmp_path / "raw")


def frequency_of(path: str) -> float:
    with h5py.File(path) as file:
        return float(file["Header/freq_array"][()].max())


def test_it_makes_one_tile_of_sixteen_files_in_order_of_frequency(files, tmp_path):
    (tile,) = ingest_directory(tmp_path).tiles
    assert [frequency_of(path) for path in tile.paths] == [float(subband_freqs_hz(k, 1)[0]) for k in range(16)]
    observation = tile.observation
    assert observation.name == "2026-10-01T06:00:00"
    assert observation.state == ObservationState.READY
    assert observation.declination_deg == pytest.approx(16.1)
    assert observation.start_mjd == pytest.approx(61314.25, abs=1e-8)
    assert observation.mid_mjd == pytest.approx(61314.25 + TILE.total_seconds() / 2 / 86400, abs=1e-8)
    assert list(observation.files.values_list("subband", flat=True)) == list(range(16))


def test_it_groups_by_content_whatever_the_names_and_folders(original, tmp_path):
    first = copy_tile(original, tmp_path / "a")
    second = copy_tile(original, tmp_path / "b", later=TILE)
    names = [f"file{number}.h5" for number in range(32)]
    random.Random(3).shuffle(names)
    (tmp_path / "mixed").mkdir()
    for path, name in zip(first + second, names, strict=True):
        path.rename(tmp_path / "mixed" / name)
    tiles = ingest_directory(tmp_path).tiles
    assert [(tile.observation.name, tile.n_subbands) for tile in tiles] == [
        ("2026-10-01T06:00:00", 16),
        ("2026-10-01T06:05:09", 16),
    ]
    assert [frequency_of(path) for path in tiles[1].paths] == sorted(map(frequency_of, tiles[1].paths), reverse=True)


def test_it_reads_a_raw_file_without_any_suffix_and_leaves_unfinished_ones(files, tmp_path):
    files[0].rename(files[0].with_name("subband-zero"))
    files[1].rename(files[1].with_name(files[1].stem + "_incomplete.hdf5"))
    (tmp_path / "raw" / "notes.txt").write_text("not raw")
    assert sum(isinstance(found, Path) for found in scan(tmp_path)) == 15
    assert ingest_directory(tmp_path).tiles[0].n_subbands == 15


def test_two_strips_at_the_same_time_are_two_tiles(files, tmp_path):
    for path in files[8:]:
        with h5py.File(path, "r+") as file:
            for key in ("extra_keywords/phase_center_dec", "phase_center_app_dec"):
                file[f"Header/{key}"][()] += 0.1
    assert sorted(tile.n_subbands for tile in ingest_directory(tmp_path).tiles) == [8, 8]


def test_a_missing_subband_leaves_the_tile_collecting_and_a_late_one_completes_it(files, tmp_path):
    late = [files.pop(5), files.pop(10)]
    for path in files:
        register(path)
    observation = Observation.objects.get()
    assert (observation.state, observation.missing_subbands()) == (ObservationState.COLLECTING, [5, 11])
    for path in late:
        register(path)
    observation.refresh_from_db()
    assert (observation.state, observation.missing_subbands()) == (ObservationState.READY, [])


def test_a_quiet_incomplete_tile_is_closed_until_an_operator_or_a_late_file_opens_it(files):
    for path in files[:14]:
        register(path)
    assert age_out(quiet_sec=120) == []
    (closed,) = age_out(quiet_sec=0)
    assert (closed.state, closed.reason) == (ObservationState.INCOMPLETE, "14 of 16 subbands; missing 14, 15")
    register(files[14])
    closed.refresh_from_db()
    assert closed.state == ObservationState.COLLECTING
    age_out(quiet_sec=0)
    assert release(closed)
    closed.refresh_from_db()
    assert closed.state == ObservationState.READY
    assert not release(closed)


def test_the_first_of_two_copies_of_a_subband_is_kept(files, tmp_path):
    (copy,) = copy_tile([files[3]], tmp_path / "raw" / "zz-copy")
    found = ingest_directory(tmp_path)
    assert found.tiles[0].n_subbands == 16
    assert str(copy) not in found.tiles[0].paths
    (problem,) = found.problems
    assert problem.path == str(copy) and str(files[3]) in problem.problem


def test_a_copy_takes_the_place_of_a_file_that_is_gone(files, tmp_path):
    for path in files:
        register(path)
    (copy,) = copy_tile([files[3]], tmp_path / "elsewhere")
    files[3].unlink()
    assert register(copy).state == "accepted"
    assert SubbandFile.objects.get(path=str(files[3])).state == "superseded"


def test_a_directory_given_for_processing_uses_its_own_files(files, original, tmp_path):
    ingest_directory(tmp_path / "raw")
    copy_tile(original, tmp_path / "other")
    (tile,) = ingest_directory(tmp_path / "other").tiles
    assert {Path(path).parent for path in tile.paths} == {tmp_path / "other"}
    assert Observation.objects.count() == 1


def test_repeating_it_makes_no_second_row(files, tmp_path):
    first = ingest_directory(tmp_path)
    second = ingest_directory(tmp_path)
    assert second.tiles == first.tiles and second.problems == []
    assert (Observation.objects.count(), SubbandFile.objects.count()) == (1, 16)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda path: os.truncate(path, path.stat().st_size // 2), "truncated"),
        (lambda path: os.truncate(path, 0), "not an HDF5 file"),
        (lambda path: path.write_text("hello"), "not an HDF5 file"),
        (lambda path: h5py.File(path, "w").close(), "not a readable UVH5 file"),
    ],
)
def test_a_spoilt_file_is_named_and_costs_nothing_else(files, tmp_path, spoil, complaint):
    spoil(files[7])
    found = ingest_directory(tmp_path)
    assert found.tiles[0].n_subbands == 15
    (problem,) = found.problems
    assert problem.path == str(files[7]) and complaint in problem.problem
    assert SubbandFile.objects.get(path=str(files[7])).state == "invalid"
    assert found.tiles[0].observation.missing_subbands() == [7]


def test_a_file_whose_data_do_not_fit_its_header_is_refused(files, tmp_path):
    with h5py.File(files[0], "r+") as file:
        del file["Data/flags"]
    assert "flags" in ingest_directory(tmp_path).problems[0].problem


def test_a_corrected_file_is_accepted(files):
    content = files[0].read_bytes()
    files[0].write_bytes(content[:1000])
    assert register(files[0]).state == "invalid"
    files[0].write_bytes(content)
    assert register(files[0]).state == "accepted"


def test_a_name_that_contradicts_the_content_is_only_remarked(files):
    liar = files[2].rename(files[2].with_name("2026-10-02T06:00:00_sb09.hdf5"))
    row = register(liar)
    assert (row.state, row.subband) == ("accepted", 2)
    assert "named subband 9" in row.problem and "begins at 2026-10-01T06:00:00" in row.problem


def test_the_calibrator_in_the_beam_is_noted(tmp_path):
    known = calibrator("3C454.3")
    transit = transit_before(known.ra_deg, known.dec_deg, START)
    observation = register(make_raw_tile(tmp_path, start=transit - TILE / 2)[0]).observation
    # It has moved 0.15 degrees north since J2000 and passes 0.2 degrees from where the dishes point.
    offset_deg = known.offset_deg(observation.ra_deg, observation.dec_deg)
    assert offset_deg == pytest.approx(0.19, abs=0.03)
    assert observation.calibrator == "3C454.3"
    assert observation.calibrator_apparent_flux_jy == pytest.approx(known.flux_jy * 0.985, rel=0.01)


@pytest.mark.django_db(transaction=True)
def test_two_ingesters_at_once_make_one_tile(files):
    errors = []

    def ingest(order: list[Path]) -> None:
        try:
            for path in order:
                register(path)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=ingest, args=(order,)) for order in (files, files[::-1], files[8:] + files[:8])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert Observation.objects.get().state == ObservationState.READY
    assert sorted(SubbandFile.objects.values_list("subband", "state")) == [(k, "accepted") for k in range(16)]
