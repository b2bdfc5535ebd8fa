"""The grammar of the pipeline's file names, both ways."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline_app.telescope import N_SUBBANDS

_RAW_NAME = re.compile(
    r"(?P<time>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})_sb(?P<subband>\d{2})(?P<incomplete>_incomplete)?\.hdf5"
)
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"
RAW_SUFFIXES = (".hdf5", ".h5", ".uvh5")
"""What raw files may end in; only .hdf5 comes from the correlator."""
INCOMPLETE_MARK = "_incomplete"
"""In the name of a file that the correlator is still writing."""


class BadName(ValueError):
    """The name does not follow the grammar."""


@dataclass(frozen=True, kw_only=True)
class RawName:
    """The parts of a raw file's name. The time is the writing host's clock: a hint, seconds apart within a tile."""

    host_time: datetime
    subband: int
    incomplete: bool = False
    """Still being written by the correlator."""

    def __str__(self) -> str:
        mark = INCOMPLETE_MARK if self.incomplete else ""
        return f"{self.host_time.astimezone(UTC).strftime(_TIME_FORMAT)}_sb{self.subband:02d}{mark}.hdf5"


def parse_raw_name(file_name: str) -> RawName:
    """Read ``2026-10-01T06:00:00_sb03.hdf5`` or its ``_incomplete`` form.

    Raises:
        BadName: the name has another form, an impossible time, or a subband above 15.
    """
    match = _RAW_NAME.fullmatch(file_name)
    if match is None:
        raise BadName(f"{file_name!r} is not YYYY-MM-DDTHH:MM:SS_sbNN.hdf5")
    subband = int(match["subband"])
    if subband >= N_SUBBANDS:
        raise BadName(f"{file_name!r} names subband {subband}; there are {N_SUBBANDS}, from 00")
    try:
        host_time = datetime.strptime(match["time"], _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise BadName(f"{file_name!r} has an impossible time") from error
    return RawName(host_time=host_time, subband=subband, incomplete=match["incomplete"] is not None)


def tile_name(start_time: datetime) -> str:
    """Return the name of an observation: the UTC start of its first integration, to the nearest second.

    Nearest, because start times computed from Julian dates are uncertain by tens of microseconds.
    """
    return (start_time.astimezone(UTC) + timedelta(seconds=0.5)).strftime(_TIME_FORMAT)
