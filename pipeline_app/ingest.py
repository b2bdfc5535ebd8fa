"""Raw files into tiles: read, grouped by first integration and pointing, registered exactly once.

Everything here is safe to run in several processes at the same time, and safe to repeat.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from pipeline_app.calibrators import brightest_in_beam
from pipeline_app.models import Observation, ObservationState, SubbandFile, SubbandState
from pipeline_app.naming import RAW_SUFFIXES, BadName, parse_raw_name, tile_name
from pipeline_app.pointing import meridian_icrs_deg
from pipeline_app.telescope import N_SUBBANDS
from pipeline_app.uvh5_header import BadRawFile, UVH5Header, is_hdf5, read_uvh5_header

FIRST_TIME_TOLERANCE_MS = 1
"""Files of one tile carry the same Julian date, which is good to 40 microseconds; rounding may differ by one."""
DECLINATION_TOLERANCE_CDEG = 5
"""Files of one tile were written with the same pointing; strips are degrees apart."""
NAME_TOLERANCE = timedelta(seconds=120)
"""How far a file's name may be from its content before somebody is told: hosts' clocks differ by seconds."""
INGEST_LOCK = 0x41425244
"""Key of the advisory lock that lets one process at a time place a file."""


@dataclass(frozen=True, kw_only=True)
class FileProblem:
    """A file that was not used, and why."""

    path: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class Tile:
    """An observation and the files that a run is to use, highest frequency first."""

    observation: Observation
    paths: tuple[str, ...]

    @property
    def n_subbands(self) -> int:
        """How many subbands there are."""
        return len(self.paths)


@dataclass(kw_only=True)
class Ingested:
    """What a directory held."""

    tiles: list[Tile] = field(default_factory=list)
    problems: list[FileProblem] = field(default_factory=list)


def candidate_files(directory: Path) -> Iterator[Path]:
    """Yield the finished files under a directory that are, or claim to be, raw: by suffix or by content, in order."""
    for place, folders, names in os.walk(directory):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or "_incomplete" in name or not path.is_file():
                continue
            if name.endswith(RAW_SUFFIXES) or is_hdf5(path):
                yield path


def ingest_directory(directory: Path) -> Ingested:
    """Register every raw file under a directory that is taken as complete, and return its tiles in order of time.

    Where the same subband is known from elsewhere, the file of this directory takes its place.
    """
    batch = sorted({str(path.resolve()) for path in candidate_files(directory)})
    found = Ingested()
    accepted: dict[int, list[SubbandFile]] = {}
    for path in batch:
        file = register(Path(path), batch=batch)
        if file.problem:
            found.problems.append(FileProblem(path=path, problem=file.problem))
        if file.state == SubbandState.ACCEPTED and file.observation_id is not None:
            accepted.setdefault(file.observation_id, []).append(file)
    for observation in Observation.objects.filter(pk__in=accepted).order_by("start_mjd"):
        found.tiles.append(Tile(observation=observation, paths=_by_frequency(accepted[observation.pk])))
    return found


def tile_of(observation: Observation) -> Tile:
    """Return the tile with all its accepted files."""
    return Tile(
        observation=observation, paths=_by_frequency(list(observation.files.filter(state=SubbandState.ACCEPTED)))
    )


def _by_frequency(files: Sequence[SubbandFile]) -> tuple[str, ...]:
    return tuple(file.path for file in sorted(files, key=lambda file: -(file.freq_min_hz or 0)))


def register(path: Path, *, batch: Collection[str] | None = None) -> SubbandFile:
    """Read a raw file and place it in its tile; return its row, whose state and problem say what became of it.

    Without a `batch` the first file of a subband is kept as long as it exists; with one, a file that is not part of
    the batch gives way. A file that cannot be used is recorded as such and raises nothing.
    """
    status = path.stat()
    seen = {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    try:
        header = read_uvh5_header(path)
    except BadRawFile as fault:
        row, _ = SubbandFile.objects.update_or_create(
            path=str(path),
            defaults={**seen, "observation": None, "state": SubbandState.INVALID, "problem": str(fault)},
        )
        return row
    with transaction.atomic():
        _lock()
        observation = _observation_of(header, path)
        known = observation.files.filter(path=str(path), state=SubbandState.ACCEPTED, **seen).first()
        return known or _place(path, header, observation, seen, batch)


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [INGEST_LOCK])


def _observation_of(header: UVH5Header, path: Path) -> Observation:
    """Find the tile that the file belongs to, or make it; the caller holds the ingest lock."""
    declination_cdeg = round(header.declination_deg * 100)
    known = Observation.objects.filter(
        telescope_name=header.telescope_name,
        first_time_ms__range=(
            header.first_time_ms - FIRST_TIME_TOLERANCE_MS,
            header.first_time_ms + FIRST_TIME_TOLERANCE_MS,
        ),
        declination_cdeg__range=(
            declination_cdeg - DECLINATION_TOLERANCE_CDEG,
            declination_cdeg + DECLINATION_TOLERANCE_CDEG,
        ),
    ).first()
    if known is not None:
        return known
    ra_deg, dec_deg = header.phase_centre_deg or meridian_icrs_deg(header.mid_mjd, header.declination_deg)
    brightest = brightest_in_beam(ra_deg, dec_deg)
    return Observation.objects.create(
        name=tile_name(_start_time(header)),
        telescope_name=header.telescope_name,
        first_time_ms=header.first_time_ms,
        declination_cdeg=declination_cdeg,
        start_mjd=header.start_mjd,
        mid_mjd=header.mid_mjd,
        duration_sec=header.duration_sec,
        declination_deg=header.declination_deg,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        directory=str(path.parent),
        expected_subbands=N_SUBBANDS if header.is_dsa else None,
        calibrator=brightest[0].name if brightest else "",
        calibrator_apparent_flux_jy=brightest[1] if brightest else None,
    )


def _start_time(header: UVH5Header) -> datetime:
    middle = datetime.fromtimestamp(header.first_time_ms / 1000, tz=UTC)
    return middle - timedelta(seconds=header.integration_time_sec / 2)


def _place(
    path: Path, header: UVH5Header, observation: Observation, seen: dict[str, int], batch: Collection[str] | None
) -> SubbandFile:
    state, problem = SubbandState.ACCEPTED, _misnamed(path, header)
    if batch is None and observation.run_id is not None:
        problem = "it came after the run of its tile had started, which goes on without it"
    holder = (
        observation.files.filter(state=SubbandState.ACCEPTED, freq_min_hz=round(header.freq_min_hz))
        .exclude(path=str(path))
        .first()
    )
    if holder is not None and _keeps_its_place(holder, batch):
        state, problem = SubbandState.DUPLICATE, f"the same subband as {holder.path}, which is kept"
    elif holder is not None:
        SubbandFile.objects.filter(pk=holder.pk).update(state=SubbandState.SUPERSEDED, problem=f"replaced by {path}")
    row, _ = SubbandFile.objects.update_or_create(
        path=str(path),
        defaults={
            **seen,
            "observation": observation,
            "subband": header.subband,
            "freq_min_hz": round(header.freq_min_hz),
            "freq_max_hz": round(header.freq_max_hz),
            "n_channels": header.n_channels,
            "n_times": header.n_times,
            "state": state,
            "problem": problem,
        },
    )
    if state == SubbandState.ACCEPTED:
        _gather(observation)
    return row


def _keeps_its_place(holder: SubbandFile, batch: Collection[str] | None) -> bool:
    if batch is not None and holder.path not in batch:
        return False
    return Path(holder.path).exists()


def _misnamed(path: Path, header: UVH5Header) -> str:
    """Return a remark when the name contradicts the content, which is what counts."""
    try:
        name = parse_raw_name(path.name)
    except BadName:
        return ""
    remarks = []
    if abs(name.host_time - _start_time(header)) > NAME_TOLERANCE + timedelta(seconds=header.duration_sec):
        remarks.append(f"named {tile_name(name.host_time)} but begins at {tile_name(_start_time(header))}")
    if header.subband is not None and header.subband != name.subband:
        remarks.append(f"named subband {name.subband} but has the frequencies of {header.subband}")
    return "; ".join(remarks)


def _gather(observation: Observation) -> None:
    """Bring the tile's state up to date after a file was added: complete, collecting, or too late."""
    Observation.objects.filter(pk=observation.pk).update(last_file_at=Now())
    if observation.run_id is not None or observation.state == ObservationState.STARTED:
        return
    missing = observation.missing_subbands()
    whole = observation.expected_subbands is not None and not missing
    Observation.objects.filter(pk=observation.pk).exclude(state=ObservationState.WAITING).update(
        state=ObservationState.READY if whole else ObservationState.COLLECTING, reason=""
    )


def age_out(quiet_sec: float) -> list[Observation]:
    """Close tiles that have had no new file for too long; return them.

    A DSA-110 tile with subbands missing is marked incomplete and waits for an operator's release; a tile of a
    telescope whose number of files is unknown is taken as complete.
    """
    quiet = Observation.objects.filter(
        state=ObservationState.COLLECTING, run_id=None, last_file_at__lt=Now() - timedelta(seconds=quiet_sec)
    )
    with transaction.atomic():
        closed = list(quiet.select_for_update(skip_locked=True))
        for observation in closed:
            missing = observation.missing_subbands()
            if missing:
                observation.state = ObservationState.INCOMPLETE
                observation.reason = describe_missing(observation, missing)
            else:
                observation.state = ObservationState.READY
            observation.save(update_fields=["state", "reason"])
    return closed


def describe_missing(observation: Observation, missing: Sequence[int]) -> str:
    """Say which subbands are missing."""
    held = (observation.expected_subbands or 0) - len(missing)
    return f"{held} of {observation.expected_subbands} subbands; missing {', '.join(map(str, missing))}"


def release(observation: Observation) -> bool:
    """Let an incomplete tile start with the subbands it has; return False when it was not incomplete."""
    return bool(
        Observation.objects.filter(pk=observation.pk, state=ObservationState.INCOMPLETE, run_id=None).update(
            state=ObservationState.READY, reason=F("reason")
        )
    )
