from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_app.naming import (
    BadName,
    RawName,
    parse_raw_name,
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


def test_tile_names_are_utc_to_the_nearest_second():
    start = datetime(2026, 10, 1, 6, 0, 7, tzinfo=UTC)
    assert tile_name(start - timedelta(microseconds=30)) == tile_name(start) == "2026-10-01T06:00:07"
