"""The smallest raw tiles that the ingest can read, made once a session and copied into each test's directory."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h5py

from pipeline_app.simulation import GainSpec, Source, TileSpec, simulate_tile
from pipeline_app.telescope import TILE_DURATION_SEC

PERFECT_GAINS = GainSpec(
    amplitude_range=(1.0, 1.0), max_phase_deg=0.0, max_delay_ns=0.0, ripple_amplitude=0.0, ripple_phase_rad=0.0
)
START = datetime(2026, 10, 1, 6, 0, tzinfo=UTC)


def tile_spec(
    start: datetime = START,
    declination_deg: float = 16.1,
    kind: str = "target",
    n_antennas: int = 2,
    channels_per_subband: int = 1,
) -> TileSpec:
    return TileSpec(
        kind=kind,
        start_time=start,
        declination_deg=declination_deg,
        sources=(Source(name="S01", ra_deg=0.0, dec_deg=declination_deg, flux_jy=1.0),),
        n_antennas=n_antennas,
        channels_per_subband=channels_per_subband,
        n_times=2,
        integration_time_sec=TILE_DURATION_SEC / 2,
        gains=PERFECT_GAINS,
    )


def make_raw_tile(directory: Path, **options: object) -> list[Path]:
    """Write the files of one tile and return them from subband 0."""
    truth = simulate_tile(directory, tile_spec(**options))
    return [directory / name for name in truth.files]


def copy_tile(files: list[Path], directory: Path, *, later: timedelta = timedelta()) -> list[Path]:
    """Copy raw files into a directory, as if they had been taken `later`."""
    directory.mkdir(parents=True, exist_ok=True)
    copies = [Path(shutil.copy(file, directory / file.name)) for file in files]
    if later:
        for copy in copies:
            with h5py.File(copy, "r+") as file:
                file["Header/time_array"][...] += later / timedelta(days=1)
    return copies
