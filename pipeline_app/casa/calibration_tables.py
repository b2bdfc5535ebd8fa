"""CASA's solvers: delay K, bandpass B and gain G tables of one tile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from casatasks import bandpass, gaincal

from pipeline_app.casa.runtime import checked
from pipeline_app.casa.solutions import BANDPASS, DELAY, GAIN

_PHASE = "P.cal"


class NotSolved(Exception):
    """A solver made no table: no antenna had enough signal."""


def solve_tables(ms: Path, directory: Path, *, scratch: Path, refant: str, min_snr: float) -> None:
    """Solve K, B and G of `ms`, whose MODEL_DATA is filled, into `directory`, replacing tables that are there.

    Phases are first solved per integration so that the bandpass keeps its coherence; that table is thrown away, and G
    holds the tile's mean gain, which is what another tile can use.

    Raises:
        NotSolved: a solver found no solution at all.
    """
    delay, spectrum, gain = (directory / name for name in (DELAY, BANDPASS, GAIN))
    phase = scratch / _PHASE
    shared: dict[str, Any] = {"vis": str(ms), "refant": refant, "minsnr": min_snr, "combine": "scan"}
    _solve(gaincal, delay, gaintype="K", solint="inf", **shared)
    _solve(gaincal, phase, gaintype="G", calmode="p", solint="int", gaintable=[str(delay)], **shared)
    _solve(bandpass, spectrum, bandtype="B", solint="inf", gaintable=[str(delay), str(phase)], **shared)
    _solve(gaincal, gain, gaintype="G", calmode="ap", solint="inf", gaintable=[str(delay), str(spectrum)], **shared)


def _solve(task: Callable[..., Any], table: Path, **arguments: Any) -> None:
    shutil.rmtree(table, ignore_errors=True)
    checked(task, caltable=str(table), **arguments)
    if not table.is_dir():
        raise NotSolved(f"no {table.stem} solution: no antenna has enough signal")
