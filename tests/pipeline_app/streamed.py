"""Simulated tiles taken through `calibrate-target` with their true gains, and what is in the result.

24 antennas stand for 96, a few subbands for 16; but channels, integrations and the noise of one visibility are the real
ones. A single visibility then has a signal to noise of about a tenth, as at the telescope: with wider channels the sky
dominates every visibility, and neither interference at the level of the noise nor an antenna without sky can be missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_app.simulation import Defects, GainSpec, Source, TileSpec, TileTruth, simulate_tile
from pipeline_app.simulation.geometry import pointing_icrs_deg
from pipeline_app.stages.calibrate_target import CalibrateTargetParams, CalibrateTargetResult
from pipeline_app.stages.calibration_solve import RECORD_NAME, CalibrationRecord
from pipeline_app.telescope import SPEED_OF_LIGHT_M_S
from tasks_app.testing import LocalContext

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
DECLINATION_DEG = 54.6
N_ANTENNAS = 24
SUBBANDS = (3, 4, 5, 6)
SOURCE_JY = 1.5


@dataclass(frozen=True)
class Streamed:
    """One tile and what the stage made of it."""

    truth: TileTruth
    result: CalibrateTargetResult
    data: NDArray[np.complex64]
    """(n_times, n_baselines, n_channels, 2), channels ascending."""
    flag: NDArray[np.bool_]
    weight: NDArray[np.float32]
    uvw_m: NDArray[np.float64]
    """(n_times, n_baselines, 3)."""
    antenna1: NDArray[np.int32]
    antenna2: NDArray[np.int32]
    freqs_hz: NDArray[np.float64]
    centre_deg: tuple[float, float]

    @property
    def used(self) -> NDArray[np.float64]:
        """Weights, 0 where flagged."""
        return np.where(self.flag, 0.0, self.weight).astype(float)

    def towards(self, ra_deg: float, dec_deg: float) -> complex:
        """Return the weighted mean visibility phased to a direction: the flux of a lone source there, Jy."""
        ra, dec, ra0, dec0 = np.radians([ra_deg, dec_deg, *self.centre_deg])
        l = np.cos(dec) * np.sin(ra - ra0)  # noqa: E741
        m = np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(ra - ra0)
        n = np.sqrt(1 - l**2 - m**2)
        delays_sec = (self.uvw_m @ np.array([l, m, n - 1.0])) / SPEED_OF_LIGHT_M_S
        held, weighted, total = self._weighted
        return complex(np.sum(weighted * np.exp(-2j * np.pi * delays_sec[..., None] * self.freqs_hz[held])) / total)

    @cached_property
    def _weighted(self) -> tuple[NDArray[np.bool_], NDArray[np.complex128], float]:
        """Return which channels have data, their weighted sums over hands, and the sum of weights."""
        used = self.used
        held = used.any(axis=(0, 1, 3))
        return held, np.sum((self.data * used)[:, :, held], axis=-1), float(used.sum())

    def image_rms_jy(self) -> float:
        """Return the rms of a naturally weighted image of data without sources.

        Of each row the channels are summed with their phases, for interference is alike in all of them; the phases of
        baselines and integrations are taken as independent, as they are of noise and of interference.
        """
        rows = np.sum(self.data * self.used, axis=2)
        return float(np.sqrt(np.sum(np.abs(rows) ** 2) / 2) / self.used.sum())


def spec_of(*, defects: Defects | None = None, flux_jy: float = SOURCE_JY, **changes: object) -> TileSpec:
    """Return a tile with one source near the pointing."""
    duration_sec = 24 * 12.884902
    ra_deg, dec_deg = pointing_icrs_deg(
        DECLINATION_DEG, datetime.fromtimestamp(START.timestamp() + duration_sec / 2, UTC)
    )
    source = Source(name="S01", ra_deg=ra_deg + 0.3, dec_deg=dec_deg - 0.1, flux_jy=flux_jy)
    options: dict = {
        "kind": "target",
        "start_time": START,
        "declination_deg": DECLINATION_DEG,
        "sources": (source,) if flux_jy else (),
        "n_antennas": N_ANTENNAS,
        "subbands": SUBBANDS,
        "gains": GainSpec(),
        "beam": False,
        "defects": defects or Defects(),
    }
    return TileSpec(**(options | changes))


def true_calibration(truth: TileTruth, directory: Path, **changes: object) -> Path:
    """Write the true gains of a tile as calibration-solve would have published them."""
    from pipeline_app.casa.solutions import GAINS_NPZ, Solutions

    directory.mkdir(parents=True)
    gains = truth.gains.conj()
    Solutions(
        antenna_names=truth.antenna_names,
        freqs_hz=truth.freqs_hz,
        gains=gains,
        flags=np.zeros(gains.shape, dtype=bool),
        gain_snr=np.full(gains.shape[:2], 100.0),
        refant=truth.antenna_names[0],
    ).save(directory / GAINS_NPZ)
    known = {
        "verdict": "pass",
        "reasons": [],
        "calibrator": "truth",
        "calibrator_flux_jy": 5.0,
        "calibrator_apparent_flux_jy": 5.0,
        "refant": truth.antenna_names[0],
        "n_antennas": len(gains),
        "n_antennas_solved": len(gains),
        "flagged_solutions": 0.0,
        "flagged_fraction": 0.0,
        "snr_median": 100.0,
        "phase_rms_deg": 1.0,
        "amplitude_ratio": 1.0,
        "mid_time_mjd": truth.mid_time_mjd,
        "declination_deg": truth.declination_deg,
        "freq_min_hz": float(truth.freqs_hz.min()),
        "freq_max_hz": float(truth.freqs_hz.max()),
        "channel_width_hz": 244140.625,
        "source_ms_path": "",
        "versions": {},
    }
    record = CalibrationRecord.model_validate(known | changes)
    (directory / RECORD_NAME).write_text(record.model_dump_json())
    return directory


def run_stage(paths: list[Path], calibration: Path, directory: Path, **params: object) -> CalibrateTargetResult:
    """Run the stage with its products left in `directory`."""
    from pipeline_app.casa.calibrate_target import run

    files = [str(path) for path in paths]
    chosen = {"max_smearing": 0.0, "name": "tile"} | params
    return run(CalibrateTargetParams(paths=files, calibration_path=str(calibration), **chosen), LocalContext(directory))


def streamed(directory: Path, spec: TileSpec, **params: object) -> Streamed:
    """Simulate a tile and run the stage on it, without averaging unless asked."""
    truth = simulate_tile(directory / "raw", spec)
    calibration = true_calibration(truth, directory / "true.cal")
    result = run_stage([directory / "raw" / name for name in truth.files], calibration, directory / "out", **params)
    return read_back(directory / "out" / "products" / "tile.calibrated.ms", truth, result)


def read_back(path: Path, truth: TileTruth, result: CalibrateTargetResult) -> Streamed:
    """Read a calibrated Measurement Set."""
    from pipeline_app.casa.measurement_set import open_table, read_info

    info = read_info(path)
    with open_table(path) as main:
        columns = {name: main.getcol(name) for name in ("TIME", "ANTENNA1", "ANTENNA2", "UVW", "DATA", "FLAG")}
        if "WEIGHT_SPECTRUM" in main.colnames():
            columns["WEIGHT_SPECTRUM"] = main.getcol("WEIGHT_SPECTRUM")
        else:  # one weight for all channels of a row
            weight = main.getcol("WEIGHT")[:, None]
            columns["WEIGHT_SPECTRUM"] = np.broadcast_to(weight, columns["FLAG"].shape)
    order = np.lexsort((columns["ANTENNA2"], columns["ANTENNA1"], columns["TIME"]))
    n_times = len(info.times_mjd)
    shaped = {name: values[order].reshape(n_times, -1, *values.shape[1:]) for name, values in columns.items()}
    return Streamed(
        truth=truth,
        result=result,
        data=shaped["DATA"],
        flag=shaped["FLAG"],
        weight=shaped["WEIGHT_SPECTRUM"],
        uvw_m=shaped["UVW"],
        antenna1=shaped["ANTENNA1"][0],
        antenna2=shaped["ANTENNA2"][0],
        freqs_hz=info.freqs_hz,
        centre_deg=(info.phase_ra_deg, info.phase_dec_deg),
    )
