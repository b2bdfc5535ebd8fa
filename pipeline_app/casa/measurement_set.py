"""Measurement Sets read and written through python-casacore tables; no CASA task, so no start-up cost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from casacore import tables
from numpy.typing import NDArray

from pipeline_app import telescope
from tasks_app.engine.handler import InvalidInput

PARALLEL_HANDS = (5, 8, 9, 12)
"""Codes of RR, LL, XX, YY in the POLARIZATION table (casacore Stokes enumeration)."""
SECONDS_PER_DAY = 86400.0
ROWS_PER_CHUNK = 20_000
"""About 250 MB of visibilities of the full telescope."""


@dataclass(frozen=True, kw_only=True)
class MeasurementSetInfo:
    """The description of a Measurement Set; one field and one spectral window, as the convert stage writes them."""

    path: Path
    antenna_names: tuple[str, ...]
    antenna_positions_m: NDArray[np.float64]
    """Geocentric (n_antennas, 3)."""
    dish_diameter_m: float
    freqs_hz: NDArray[np.float64]
    channel_width_hz: float
    correlations: tuple[int, ...]
    feeds: tuple[tuple[int, int], ...]
    """For each correlation the receptors (0 or 1) of antenna 1 and antenna 2."""
    times_mjd: NDArray[np.float64]
    """Distinct integration centres, UTC."""
    integration_sec: float
    phase_ra_deg: float
    """ICRS."""
    phase_dec_deg: float
    n_rows: int
    telescope_name: str

    @property
    def parallel_hands(self) -> list[int]:
        """Indices on the polarisation axis that carry Stokes I."""
        return [i for i, code in enumerate(self.correlations) if code in PARALLEL_HANDS]

    @property
    def mid_time_mjd(self) -> float:
        """Middle of the first and last integration."""
        return float(self.times_mjd[0] + self.times_mjd[-1]) / 2

    @property
    def beam_freq_factor(self) -> float:
        """Factor on frequency that makes `telescope.power_beam` the beam of these dishes (it goes with D x freq)."""
        return self.dish_diameter_m / telescope.DISH_DIAMETER_M


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A run of rows of the main table; visibilities are (n_rows, n_channels, n_polarisations)."""

    start: int
    antenna1: NDArray[np.int32]
    antenna2: NDArray[np.int32]
    time_index: NDArray[np.intp]
    """Into `MeasurementSetInfo.times_mjd`."""
    uvw_m: NDArray[np.float64]
    flag: NDArray[np.bool_]
    columns: dict[str, NDArray[Any]]

    @property
    def cross(self) -> NDArray[np.bool_]:
        return self.antenna1 != self.antenna2


def open_table(path: Path | str, *, write: bool = False) -> tables.table:
    """Open a casacore table without its chatter; the caller closes it, or uses it in a with statement."""
    return tables.table(str(path), readonly=not write, ack=False)


def read_info(path: str | Path) -> MeasurementSetInfo:
    """Read the description of a Measurement Set.

    Raises:
        InvalidInput: it is missing, unreadable, empty, or has several fields or spectral windows.
    """
    path = Path(path)
    if not (path / "table.dat").is_file():
        raise InvalidInput(f"{path} is not a Measurement Set")
    try:
        return _read_info(path)
    except RuntimeError as error:  # casacore raises nothing more precise
        raise InvalidInput(f"{path} cannot be read as a Measurement Set: {error}") from error


def _read_info(path: Path) -> MeasurementSetInfo:
    with open_table(path) as main:
        if main.nrows() == 0:
            raise InvalidInput(f"{path} holds no data")
        times = np.unique(main.getcol("TIME"))
        interval = float(np.median(main.getcol("INTERVAL", 0, min(main.nrows(), 1000))))
        n_rows = main.nrows()
    with open_table(path / "SPECTRAL_WINDOW") as window, open_table(path / "FIELD") as field:
        if window.nrows() != 1 or field.nrows() != 1:
            raise InvalidInput(
                f"{path} has {window.nrows()} spectral windows and {field.nrows()} fields; needs one of each"
            )
        freqs = window.getcell("CHAN_FREQ", 0)
        width = float(np.median(np.abs(window.getcell("CHAN_WIDTH", 0))))
        phase_ra, phase_dec = np.degrees(field.getcell("PHASE_DIR", 0).reshape(-1)[:2])
    with open_table(path / "ANTENNA") as antenna, open_table(path / "POLARIZATION") as polarization:
        names = tuple(str(name) for name in antenna.getcol("NAME"))
        positions = antenna.getcol("POSITION")
        diameters = antenna.getcol("DISH_DIAMETER")
        correlations = tuple(int(code) for code in polarization.getcell("CORR_TYPE", 0))
        feeds = tuple((int(first), int(second)) for first, second in polarization.getcell("CORR_PRODUCT", 0))
    with open_table(path / "OBSERVATION") as observation:
        telescope_name = str(observation.getcell("TELESCOPE_NAME", 0))
    diameter = float(np.median(diameters[diameters > 0])) if np.any(diameters > 0) else telescope.DISH_DIAMETER_M
    info = MeasurementSetInfo(
        path=path,
        antenna_names=names,
        antenna_positions_m=positions,
        dish_diameter_m=diameter,
        freqs_hz=np.asarray(freqs, dtype=float),
        channel_width_hz=width,
        correlations=correlations,
        feeds=feeds,
        times_mjd=times / SECONDS_PER_DAY,
        integration_sec=interval,
        phase_ra_deg=float(phase_ra % 360.0),
        phase_dec_deg=float(phase_dec),
        n_rows=n_rows,
        telescope_name=telescope_name,
    )
    if not info.parallel_hands:
        raise InvalidInput(f"{path} has no parallel-hand polarisation (codes {list(correlations)})")
    return info


def iter_rows(
    info: MeasurementSetInfo, columns: tuple[str, ...] = ("DATA",), *, rows_per_chunk: int = ROWS_PER_CHUNK
) -> Iterator[Rows]:
    """Yield the main table in runs of rows, with the given columns of visibilities or weights."""
    with open_table(info.path) as main:
        for start in range(0, info.n_rows, rows_per_chunk):
            count = min(rows_per_chunk, info.n_rows - start)
            times = main.getcol("TIME", start, count) / SECONDS_PER_DAY
            yield Rows(
                start=start,
                antenna1=main.getcol("ANTENNA1", start, count),
                antenna2=main.getcol("ANTENNA2", start, count),
                time_index=np.searchsorted(info.times_mjd, times),
                uvw_m=main.getcol("UVW", start, count),
                flag=main.getcol("FLAG", start, count) | main.getcol("FLAG_ROW", start, count)[:, None, None],
                columns={name: main.getcol(name, start, count) for name in columns},
            )


def put_column(path: Path, column: str, start: int, values: NDArray[Any]) -> None:
    """Write a run of rows of one column."""
    with open_table(path, write=True) as main:
        main.putcol(column, values, start, len(values))


def flagged_fraction(info: MeasurementSetInfo) -> float:
    """Return the fraction of flagged cross-correlations."""
    flagged, total = 0, 0
    for rows in iter_rows(info, ()):
        flag = rows.flag[rows.cross]
        flagged += int(flag.sum())
        total += flag.size
    return flagged / total if total else 1.0


def copy_tree(source: Path, target: Path) -> None:
    """Copy a Measurement Set, sharing blocks where the file system can (reflink)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", "--no-target-directory", str(source), str(target)], check=True)
    # a published product is read-only; the private copy must not be
    subprocess.run(["chmod", "-R", "u+w", str(target)], check=True)
