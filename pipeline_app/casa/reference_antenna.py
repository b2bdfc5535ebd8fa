"""Which antenna's phase is zero."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa.measurement_set import MeasurementSetInfo
from tasks_app.engine.handler import InvalidInput

CHAIN = (*range(104, 109), *range(109, 114), *range(114, 117), 103, 117)
"""Stations in the order in which the observatory's own pipeline prefers them: outriggers, which see little else."""
MIN_UNFLAGGED = 0.5
"""A reference antenna has at least this fraction of the best antenna's data."""


def choose_reference(info: MeasurementSetInfo, unflagged: NDArray[np.int64], wanted: str | None = None) -> str | None:
    """Return the name of the reference antenna, None when no antenna has any data.

    The first of the chain that has data; without any of the chain, the antenna nearest the array's centre that has.
    `unflagged` (n_antennas) is the number of usable visibilities, of the hand that has fewest.

    Raises:
        InvalidInput: the wanted antenna is not in the data, or all of its data are flagged.
    """
    if wanted is not None:
        if wanted not in info.antenna_names:
            raise InvalidInput(f"reference antenna {wanted!r} is not in the data")
        if unflagged[info.antenna_names.index(wanted)] == 0:
            raise InvalidInput(f"all data of the reference antenna {wanted!r} are flagged")
        return wanted
    if not unflagged.any():
        return None
    good = unflagged >= MIN_UNFLAGGED * unflagged.max()
    stations = {_station(name): index for index, name in enumerate(info.antenna_names) if good[index]}
    for station in CHAIN:
        if station in stations:
            return info.antenna_names[stations[station]]
    centre = np.median(info.antenna_positions_m[good], axis=0)
    distance = np.linalg.norm(info.antenna_positions_m - centre, axis=1)
    return info.antenna_names[int(np.argmin(np.where(good, distance, np.inf)))]


def _station(name: str) -> int | None:
    """Return the station number in an antenna name (``104``, ``DSA-104``, ``pad104``)."""
    match = re.fullmatch(r"\D*?(\d+)", name)
    return int(match.group(1)) if match else None
