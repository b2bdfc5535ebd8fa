from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_app.naming import (
    BadName,
    RawName,
    is_raw_file_name,
    parse_raw_name,
    parse_tile_name,
    product_dir_name,
    tile_name,
)


@given(
    host_time=st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2099, 1, 1)).map(
        lambda t: t.replace(microsecond=0, tzinfo=UTC)
    ),
    subband=st.integers(0, 15),
    incomplete=st.booleans(),
)
def test_raw_names_survive_a_round_trip(host_time, subband, incomplete):
    name = RawName(host_time=host_time, subband=subband, incomplete=incomplete)
    assert parse_raw_name(str(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "2026-10-01T06:00:00_sb16.hdf5",
        "2026-10-01T06:00:00_sb3.hdf5",
        "2026-13-01T06:00:00_sb03.hdf5",
        "2026-10-01T06:00:00_sb03.hdf5.part",
        "x2026-10-01T06:00:00_sb03.hdf5",
    ],
)
def test_it_refuses_other_names(name):
    with pytest.raises(BadName):
        parse_raw_name(name)


def test_files_still_being_written_are_not_raw_files():
    assert is_raw_file_name("anything.hdf5")
    assert is_raw_file_name("ata.uvh5")
    assert not is_raw_file_name("2026-10-01T06:00:00_sb03_incomplete.hdf5")
    assert not is_raw_file_name(".hidden.hdf5")
    assert not is_raw_file_name("notes.txt")


def test_tile_names_are_utc_to_the_nearest_second_and_round_trip():
    start = datetime(2026, 10, 1, 6, 0, 7, tzinfo=UTC)
    assert tile_name(start - timedelta(microseconds=30)) == tile_name(start) == "2026-10-01T06:00:07"
    assert parse_tile_name(tile_name(start)) == start
    with pytest.raises(BadName):
        parse_tile_name("yesterday")


def test_a_published_directory_carries_eight_characters_of_its_claim():
    assert product_dir_name("2026-10-01T06:00:07", "0123456789abcdef") == "2026-10-01T06:00:07.01234567"
