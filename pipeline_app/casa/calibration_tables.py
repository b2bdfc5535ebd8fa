"""CASA's solvers: delay K, bandpass B and gain G tables of one tile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from casatasks import bandpass, gaincal

from pipeline_app.casa.measurement_set import MeasurementSetInfo, open_table
from pipeline_app.casa.runtime import checked
from pipeline_app.casa.solutions import BANDPASS, DELAY, GAIN

_PHASE = "P.cal"


class NotSolved(Exception):
    """A solver made no table: no antenna had enough signal."""


def solve_tables(info: MeasurementSetInfo, directory: Path, *, scratch: Path, refant: str, min_snr: float) -> None:
    """Solve K, B and G of a private copy, whose MODEL_DATA is filled, into `directory`, replacing tables there.

    Phases are first solved per integration so that the bandpass keeps its coherence; that table is thrown away, and G
    holds the tile's mean gain, which is what another tile can use.

    Raises:
        NotSolved: a solver found no solution at all.
    """
    delay, spectrum, gain = (directory / name for name in (DELAY, BANDPASS, GAIN))
    phase = scratch / _PHASE
    # in an antenna expression of CASA "2m" is an error and "5" may be a number or a name
    plain = [f"ANT{index:04d}" for index in range(len(info.antenna_names))]
    _rename_antennas(info.path, plain)
    shared: dict[str, Any] = {
        "vis": str(info.path),
        "refant": plain[info.antenna_names.index(refant)],
        "minsnr": min_snr,
        "combine": "scan",
    }
    _solve(gaincal, delay, gaintype="K", solint="inf", **shared)
    _solve(gaincal, phase, gaintype="G", calmode="p", solint="int", gaintable=[str(delay)], **shared)
    _solve(bandpass, spectrum, bandtype="B", solint="inf", gaintable=[str(delay), str(phase)], **shared)
    _solve(gaincal, gain, gaintype="G", calmode="ap", solint="inf", gaintable=[str(delay), str(spectrum)], **shared)
    for table in (delay, spectrum, gain):
        _rename_antennas(table, list(info.antenna_names))


def _solve(task: Callable[..., Any], table: Path, **arguments: Any) -> None:
    shutil.rmtree(table, ignore_errors=True)
    checked(task, caltable=str(table), **arguments)
    if not table.is_dir():
        raise NotSolved(f"no {table.stem} solution: no antenna has enough signal")


def _rename_antennas(path: Path, names: list[str]) -> None:
    with open_table(path / "ANTENNA", write=True) as antennas:
        antennas.putcol("NAME", names)
