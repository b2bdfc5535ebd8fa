"""CASA's calibration tables K (delay), B (bandpass) and G (gain), written from solved gains.

The tables have CASA's own structure, made by its calibrater tool for the Measurement Set in question, so that applycal
and plotms take them like those of gaincal and bandpass. One solution interval: the tile.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from casatools import calibrater
from numpy.typing import NDArray

from pipeline_app.casa import bandpass
from pipeline_app.casa.measurement_set import SECONDS_PER_DAY, MeasurementSetInfo, open_table
from pipeline_app.casa.runtime import checked
from pipeline_app.casa.solutions import BANDPASS, DELAY, GAIN

_KINDS = {DELAY: ("Real", "K Jones", True), BANDPASS: ("Complex", "B Jones", False), GAIN: ("Complex", "G Jones", True)}
"""What the calibrater tool wants to know: type of parameter, type of calibration, whether it has a single channel."""
_SAMPLE_ROWS = 8
N_RECEPTORS = 2
"""CASA's tables have both, whatever the Measurement Set has."""


@dataclass(frozen=True, kw_only=True)
class SolvedGains:
    """Total gains of the parallel hands of a Measurement Set, in its convention: V_ij = g_i conj(g_j) S_ij."""

    gains: NDArray[np.complex128]
    """(n_antennas, n_hands, n_channels); zero where there is no solution."""
    weights: NDArray[np.float64]
    """Inverse variances of one component; zero where there is no solution."""
    refant: int


def write_tables(info: MeasurementSetInfo, directory: Path, solved: SolvedGains, *, scratch: Path) -> None:
    """Write K.cal, B.cal and G.cal into `directory`, replacing tables there; the Measurement Set is only read.

    CASA's calibrater opens a Measurement Set for writing, so it is given a copy in `scratch` of a few of its rows.
    """
    sample = _copy_rows(info.path, scratch / "calibrater.ms")
    for name, (parameter, kind, single) in _KINDS.items():
        shutil.rmtree(directory / name, ignore_errors=True)
        tool = calibrater()
        try:
            checked(tool.open, filename=str(sample), addcorr=False, addmodel=False)
            checked(
                tool.createcaltable,
                caltable=str(directory / name),
                partype=parameter,
                caltype=kind,
                singlechan=single,
            )
        finally:
            tool.close()
    shutil.rmtree(sample)
    with open_table(directory / DELAY / "SPECTRAL_WINDOW") as window:
        # CASA refers a delay to the centre of the K table's own window, not to its REF_FREQUENCY
        reference_hz = float(np.mean(window.getcell("CHAN_FREQ", 0)))
    parts = bandpass.divide(solved.gains, solved.weights, info.freqs_hz, reference_hz)
    known = (solved.gains != 0) & (solved.weights > 0)
    snr = np.where(known, np.abs(solved.gains) * np.sqrt(solved.weights), 0.0)
    total = np.sqrt(np.sum(snr**2, axis=-1, keepdims=True))
    none = ~known.any(axis=-1, keepdims=True)
    _fill(directory / DELAY, info, solved.refant, "FPARAM", parts.delays_sec[..., None] * 1e9, none, total)
    _fill(directory / BANDPASS, info, solved.refant, "CPARAM", parts.bandpass, ~known, snr)
    _fill(directory / GAIN, info, solved.refant, "CPARAM", parts.gain[..., None], none, total)


def _copy_rows(path: Path, target: Path) -> Path:
    """Copy the first rows of a Measurement Set, with all its subtables."""
    with open_table(path) as main:
        rows = main.selectrows(list(range(min(_SAMPLE_ROWS, main.nrows()))))
        rows.copy(str(target), deep=True).close()
        rows.close()
    return target


def _fill(
    table: Path,
    info: MeasurementSetInfo,
    refant: int,
    column: str,
    values: NDArray[Any],
    flags: NDArray[np.bool_],
    snr: NDArray[np.float64],
) -> None:
    """Write one row an antenna; arrays are (n_antennas, n_hands, n_channels). A hand that is not there is flagged."""
    n_antennas, _, n_channels = values.shape
    receptors = [info.feeds[hand][0] for hand in info.parallel_hands]
    shape = (n_antennas, n_channels, N_RECEPTORS)
    kind = np.float32 if column == "FPARAM" else np.complex64
    all_values = np.full(shape, 0 if column == "FPARAM" else 1, dtype=kind)
    all_flags, all_snr = np.ones(shape, dtype=bool), np.zeros(shape, dtype=np.float32)
    all_values[..., receptors] = np.where(flags, all_values[:1, :1, :1], values).transpose(0, 2, 1)
    all_flags[..., receptors] = flags.transpose(0, 2, 1)
    all_snr[..., receptors] = snr.transpose(0, 2, 1)
    number = np.arange(n_antennas, dtype=np.int32)
    with open_table(table, write=True) as rows:
        rows.addrows(n_antennas)
        rows.putcol("TIME", np.full(n_antennas, info.mid_time_mjd * SECONDS_PER_DAY))
        rows.putcol("INTERVAL", np.full(n_antennas, np.ptp(info.times_mjd) * SECONDS_PER_DAY + info.integration_sec))
        rows.putcol("ANTENNA1", number)
        rows.putcol("ANTENNA2", np.full(n_antennas, refant, dtype=np.int32))
        for name in ("FIELD_ID", "SPECTRAL_WINDOW_ID", "OBSERVATION_ID"):
            rows.putcol(name, np.zeros(n_antennas, dtype=np.int32))
        rows.putcol("SCAN_NUMBER", np.full(n_antennas, -1, dtype=np.int32))
        rows.putcol(column, all_values)
        rows.putcol("PARAMERR", np.zeros(shape, dtype=np.float32))
        rows.putcol("FLAG", all_flags)
        rows.putcol("SNR", all_snr)
        rows.putcol("WEIGHT", np.ones(shape, dtype=np.float32))
