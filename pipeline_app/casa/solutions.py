"""Calibrations: the total gain K x B x G as arrays, whether it may be applied to a tile, gains between two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline_app.casa.measurement_set import MeasurementSetInfo, Rows, open_table
from pipeline_app.stages.calibration_apply import CalibratingParams
from pipeline_app.stages.calibration_solve import RECORD_NAME, CalibrationRecord
from tasks_app.engine.handler import InvalidInput

DELAY, BANDPASS, GAIN = "K.cal", "B.cal", "G.cal"
"""Names of the tables in a calibration directory, in the order in which they are applied."""
GAINS_NPZ = "gains.npz"


@dataclass(frozen=True, kw_only=True)
class Solutions:
    """Total gains: V_observed(i, j) = gains[i] conj(gains[j]) V_true, in the convention of the Measurement Set."""

    antenna_names: tuple[str, ...]
    freqs_hz: NDArray[np.float64]
    gains: NDArray[np.complex128]
    """(n_antennas, n_pols, n_channels), parallel hands only; 1 where flagged."""
    flags: NDArray[np.bool_]
    gain_snr: NDArray[np.float64]
    """(n_antennas, n_pols) of the G table, 0 where there is none."""
    refant: str

    @property
    def antennas_solved(self) -> int:
        """Antennas with at least one solution."""
        return int((~self.flags).any(axis=(1, 2)).sum())

    def inverse(self) -> NDArray[np.complex64]:
        """Return one over the gains, 0 where there is none, (n_antennas, n_channels, n_pols)."""
        return np.where(self.flags, 0.0, 1.0 / self.gains).transpose(0, 2, 1).astype(np.complex64)

    def corrected(
        self, rows: Rows, info: MeasurementSetInfo, correlations: Sequence[int] | None = None
    ) -> tuple[NDArray[np.complex64], NDArray[np.bool_]]:
        """Return DATA with the gains divided out, (n_rows, n_channels, n_correlations), and what of it is unusable.

        The solutions must be on the antennas and channels of `info` (see `onto`). `correlations` are indices, by
        default those of the parallel hands; autocorrelations are unusable.
        """
        wanted = info.parallel_hands if correlations is None else correlations
        first, second = (np.array([info.feeds[index][side] for index in wanted]) for side in (0, 1))
        gains, flags = self.gains.transpose(0, 2, 1), self.flags.transpose(0, 2, 1)
        bad = rows.flag[..., wanted] | flags[rows.antenna1][..., first] | flags[rows.antenna2][..., second]
        bad |= ~rows.cross[:, None, None]
        data = np.where(bad, 0, rows.columns["DATA"][..., wanted])
        factor = gains[rows.antenna1][..., first] * gains[rows.antenna2][..., second].conj()
        return (data / factor).astype(np.complex64), bad

    def onto_measurement_set(self, info: MeasurementSetInfo) -> Solutions:
        """Return the same gains on the antennas and channels of another Measurement Set (see `onto`)."""
        return self.onto(info.antenna_names, info.freqs_hz, info.channel_width_hz)

    def onto(self, antenna_names: tuple[str, ...], freqs_hz: NDArray[np.float64], channel_width_hz: float) -> Solutions:
        """Return the same gains on other antennas (by name) and channels (the nearest).

        Antennas without a solution are flagged, and so are channels further than half a channel from a solution.

        Raises:
            InvalidInput: the channels are of another width, or there is no common antenna or channel.
        """
        own_width_hz = float(np.median(np.diff(np.sort(self.freqs_hz)))) if len(self.freqs_hz) > 1 else np.inf
        if own_width_hz < np.inf and abs(own_width_hz / channel_width_hz - 1.0) > 0.01:
            raise InvalidInput(
                f"calibration has channels of {own_width_hz / 1e3:.1f} kHz,"
                f" the data of {channel_width_hz / 1e3:.1f} kHz"
            )
        distance_hz = np.abs(freqs_hz[:, None] - self.freqs_hz[None])
        channels, reached = distance_hz.argmin(axis=1), distance_hz.min(axis=1) < 0.5 * channel_width_hz
        numbers = {name: index for index, name in enumerate(self.antenna_names)}
        known = np.array([name in numbers for name in antenna_names])
        if not reached.any() or not known.any():
            what = "frequencies" if known.any() else "antennas"
            raise InvalidInput(f"calibration covers none of the data's {what}")
        antennas = np.array([numbers.get(name, 0) for name in antenna_names])
        missing = ~known[:, None, None] | ~reached
        return replace(
            self,
            antenna_names=antenna_names,
            freqs_hz=freqs_hz,
            gains=np.where(missing, 1.0, self.gains[antennas][:, :, channels]),
            flags=self.flags[antennas][:, :, channels] | missing,
            gain_snr=np.where(known[:, None], self.gain_snr[antennas], 0.0),
        )

    def save(self, path: Path) -> None:
        """Write gains.npz: antenna_names, freqs_hz, gains, flags, gain_snr, refant; plain numpy reads it."""
        np.savez_compressed(
            path,
            antenna_names=np.array(self.antenna_names),
            freqs_hz=self.freqs_hz,
            gains=self.gains,
            flags=self.flags,
            gain_snr=self.gain_snr,
            refant=np.array(self.refant),
        )

    @classmethod
    def load(cls, path: Path) -> Solutions:
        with np.load(path, allow_pickle=False) as stored:
            return cls(
                antenna_names=tuple(str(name) for name in stored["antenna_names"]),
                freqs_hz=stored["freqs_hz"],
                gains=stored["gains"],
                flags=stored["flags"],
                gain_snr=stored["gain_snr"],
                refant=str(stored["refant"]),
            )


def read_solutions(directory: Path, info: MeasurementSetInfo, refant: str) -> Solutions:
    """Combine the tables K, B and G of a directory, each with one solution interval."""
    n_antennas = len(info.antenna_names)
    delays_ns, delay_flags, _ = _read(directory / DELAY, "FPARAM", n_antennas)
    bandpass, bandpass_flags, _ = _read(directory / BANDPASS, "CPARAM", n_antennas)
    gain, gain_flags, gain_snr = _read(directory / GAIN, "CPARAM", n_antennas)
    # CASA refers a delay to the centre of the K table's own window, not to its REF_FREQUENCY
    with open_table(directory / DELAY / "SPECTRAL_WINDOW") as window:
        delay_freq_hz = float(np.mean(window.getcell("CHAN_FREQ", 0)))
    turns = delays_ns.real * 1e-9 * (info.freqs_hz - delay_freq_hz)
    total = bandpass * gain * np.exp(2j * np.pi * turns)
    flags = np.broadcast_to(bandpass_flags | gain_flags | delay_flags, total.shape) | (total == 0)
    total = np.where(flags, 1.0, total)
    return Solutions(
        antenna_names=info.antenna_names,
        freqs_hz=info.freqs_hz,
        gains=total,
        flags=flags,
        gain_snr=np.where(gain_flags, 0.0, gain_snr)[..., 0],
        refant=refant,
    )


def _read(
    table: Path, column: str, n_antennas: int
) -> tuple[NDArray[np.complex128], NDArray[np.bool_], NDArray[np.float64]]:
    """Return values, flags and signal to noise, each (n_antennas, n_pols, n_channels); missing antennas are flagged."""
    with open_table(table) as solved:
        antennas = solved.getcol("ANTENNA1")
        values, flags, snr = (solved.getcol(name).transpose(0, 2, 1) for name in (column, "FLAG", "SNR"))
    shape = (n_antennas, *values.shape[1:])
    all_values, all_flags, all_snr = np.ones(shape, dtype=complex), np.ones(shape, dtype=bool), np.zeros(shape)
    all_values[antennas], all_flags[antennas], all_snr[antennas] = values, flags, snr
    return all_values, all_flags | ~np.isfinite(all_values), all_snr


@dataclass(frozen=True, kw_only=True)
class Match:
    """A calibration that fits a tile, and how well."""

    record: CalibrationRecord
    age_hours: float
    declination_difference_deg: float


def read_record(calibration: Path) -> CalibrationRecord:
    """Read calibration.json.

    Raises:
        InvalidInput: it is missing, malformed, or refuses the calibration.
    """
    try:
        text = (calibration / RECORD_NAME).read_text(encoding="utf-8")
        record = CalibrationRecord.model_validate_json(text)
    except (OSError, ValidationError) as error:
        raise InvalidInput(f"{calibration} is not a calibration: {error}") from error
    if record.verdict == "fail":
        raise InvalidInput(f"calibration refused: {'; '.join(record.reasons)}")
    if not (calibration / GAINS_NPZ).is_file():
        raise InvalidInput(f"{calibration} lacks {GAINS_NPZ}")
    return record


def match_calibration(
    record: CalibrationRecord, limits: CalibratingParams, *, mid_time_mjd: float, declination_deg: float
) -> Match:
    """Check that a calibration is near in time, and of the strip with that apparent declination.

    Raises:
        InvalidInput: it is not.
    """
    age_hours = abs(mid_time_mjd - record.mid_time_mjd) * 24.0
    if age_hours > limits.max_age_hours:
        raise InvalidInput(
            f"calibration is stale: {age_hours:.1f} h from the observation (limit {limits.max_age_hours:g} h)"
        )
    difference_deg = abs(declination_deg - record.declination_deg)
    if difference_deg > limits.max_declination_difference_deg:
        raise InvalidInput(
            f"calibration is of another declination strip: {difference_deg:.2f}° away"
            f" (limit {limits.max_declination_difference_deg:g}°)"
        )
    return Match(record=record, age_hours=age_hours, declination_difference_deg=difference_deg)


@dataclass(frozen=True, kw_only=True)
class Interpolated:
    """Gains at one time, and how far the two calibrations that they come from differ."""

    solutions: Solutions
    fraction: float
    """Weight of the later calibration; 0 or 1 outside the span of the two, where the nearer one is used alone."""
    phase_change_deg: float
    """Rms over antennas and hands of the change from one to the other, averaged over channels, against the common phase
    of all antennas."""
    amplitude_change: float
    """The same of the fractional amplitude."""


def interpolate(one: Solutions, other: Solutions, *, times_mjd: tuple[float, float], at_mjd: float) -> Interpolated:
    """Return the gains at `at_mjd`; both solutions must be on the same antennas and channels (`Solutions.onto`).

    The phase of each antenna changes by the shorter way, after each hand's median change has been taken out: it is that
    of the reference antenna, which no visibility shows. Where one has no solution, the other's is taken.
    """
    span = times_mjd[1] - times_mjd[0]
    fraction = float(np.clip((at_mjd - times_mjd[0]) / span, 0.0, 1.0)) if span else 0.0
    both = ~one.flags & ~other.flags
    ratio = np.where(both, other.gains / one.gains, 1.0)
    common = np.sum(np.where(both, ratio / np.abs(ratio), 0.0), axis=0)
    turn = np.where(np.abs(common) > 0, common / np.maximum(np.abs(common), 1e-30), 1.0)
    ratio = np.where(both, ratio * turn.conj(), 1.0)
    phase, amplitude = _continuous_phase(ratio, both), np.log(np.abs(ratio))
    gains = one.gains * np.exp(fraction * (amplitude + 1j * phase))
    gains = np.where(one.flags & ~other.flags, other.gains * turn.conj(), gains)
    solutions = replace(one, gains=gains, flags=one.flags & other.flags, gain_snr=np.fmax(one.gain_snr, other.gain_snr))
    known = both.any(axis=-1)
    return Interpolated(
        solutions=solutions,
        fraction=fraction,
        phase_change_deg=float(np.degrees(_rms(_mean(phase, both)[known]))),
        amplitude_change=_rms(_mean(amplitude, both)[known]),
    )


def _continuous_phase(ratio: NDArray[np.complex128], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return phases that do not jump by a turn between channels, each antenna's mean within half a turn of zero."""
    mean = np.sum(np.where(good, ratio, 0.0), axis=-1, keepdims=True)
    turn = np.where(np.abs(mean) > 0, mean / np.maximum(np.abs(mean), 1e-30), 1.0)
    return np.angle(ratio * turn.conj()) + np.angle(turn)


def _mean(values: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.sum(np.where(good, values, 0.0), axis=-1) / np.maximum(good.sum(axis=-1), 1)


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0
