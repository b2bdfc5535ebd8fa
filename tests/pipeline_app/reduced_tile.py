"""One simulated pair of tiles taken through all stages, once a test session, shared by its workers."""

from __future__ import annotations

import fcntl
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline_app.simulation import TINY, TileTruth, simulate_tile, tile_pair
from pipeline_app.stages.calibration_apply import CalibrationApplyParams, CalibrationApplyResult
from pipeline_app.stages.calibration_solve import CalibrationSolveParams, CalibrationSolveResult
from pipeline_app.stages.convert import ConvertParams, ConvertResult
from pipeline_app.stages.imaging import ImagingParams, ImagingResult
from pipeline_app.stages.photometry import PhotometryParams, PhotometryResult, Position
from tasks_app.testing import LocalContext

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Reduced:
    """What the stages made of the pair."""

    calibrator_truth: TileTruth
    target_truth: TileTruth
    calibrator_ms: Path
    target_ms: Path
    digest_before: str
    digest_after: str
    solved: CalibrationSolveResult
    applied: CalibrationApplyResult
    imaged: ImagingResult
    measured: PhotometryResult


def digest(directory: Path) -> str:
    """Hash every file below a directory; CASA's lock file changes when a table is only read."""
    total = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != "table.lock":
            total.update(str(path.relative_to(directory)).encode() + path.read_bytes())
    return total.hexdigest()


def reduced_pair(tmp_path_factory: pytest.TempPathFactory) -> Reduced:
    """Reduce the pair, or read what another worker of the session has reduced."""
    base = tmp_path_factory.getbasetemp()
    if base.name.startswith("popen-gw"):
        base = base.parent  # the session's, above the worker's
    directory = base / "reduced-pair"
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "measured.json").exists():
            _reduce(directory)
    return _read(directory)


def _reduce(directory: Path) -> None:
    from pipeline_app.casa import calibration_apply, calibration_solve, imaging, photometry

    calibrator_ms, _ = _converted(directory, 0, "calibrator")
    target_ms, target_truth = _converted(directory, 1, "target")
    before = digest(calibrator_ms) + digest(target_ms)
    solved = calibration_solve.run(
        CalibrationSolveParams(ms_path=str(calibrator_ms), model_smearing=False), LocalContext(directory / "solve")
    )
    applied = calibration_apply.run(
        CalibrationApplyParams(ms_path=str(target_ms), calibration_path=solved.calibration_path),
        LocalContext(directory / "apply"),
    )
    after = digest(calibrator_ms) + digest(target_ms)
    imaged = imaging.run(
        ImagingParams(ms_path=applied.ms_path, field_deg=2.2, cell_arcsec=10.0, correct_smearing=False),
        LocalContext(directory / "image"),
    )
    positions = [
        Position(name=s.name, ra_deg=s.ra_deg, dec_deg=s.dec_deg, flux_jy=s.flux_jy) for s in target_truth.sources
    ]
    measured = photometry.run(
        PhotometryParams(
            image_path=imaged.image_path,
            flat_image_path=imaged.flat_image_path,
            pb_path=imaged.pb_path,
            positions=positions,
        ),
        LocalContext(directory / "measure"),
    )
    (directory / "digests").write_text(f"{before} {after}")
    for name, result in {"solved": solved, "applied": applied, "imaged": imaged, "measured": measured}.items():
        (directory / f"{name}.json").write_text(result.model_dump_json())


def _converted(directory: Path, which: int, name: str) -> tuple[Path, TileTruth]:
    from pipeline_app.casa import convert

    raw = directory / f"{name}-raw"
    truth = simulate_tile(raw, tile_pair(NOW, TINY)[which])
    paths = [str(raw / file) for file in truth.files]
    result: ConvertResult = convert.run(ConvertParams(paths=paths, name=name), LocalContext(directory / name))
    return Path(result.ms_path), truth


def _read(directory: Path) -> Reduced:
    truths = [
        TileTruth.load(directory / f"{kind}-raw", tile_pair(NOW, TINY)[which].name)
        for which, kind in enumerate(("calibrator", "target"))
    ]
    before, after = (directory / "digests").read_text().split()
    return Reduced(
        calibrator_truth=truths[0],
        target_truth=truths[1],
        calibrator_ms=directory / "calibrator" / "products" / "calibrator.ms",
        target_ms=directory / "target" / "products" / "target.ms",
        digest_before=before,
        digest_after=after,
        solved=CalibrationSolveResult.model_validate_json((directory / "solved.json").read_text()),
        applied=CalibrationApplyResult.model_validate_json((directory / "applied.json").read_text()),
        imaged=ImagingResult.model_validate_json((directory / "imaged.json").read_text()),
        measured=PhotometryResult.model_validate_json((directory / "measured.json").read_text()),
    )
