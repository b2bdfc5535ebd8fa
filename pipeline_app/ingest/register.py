"""Raw files into tiles: found, read, grouped by first integration and pointing, registered exactly once.

Everything here is safe to run in several processes at the same time, and safe to repeat.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import DatabaseError, DataError, IntegrityError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from pipeline_app.calibrators import brightest_in_beam
from pipeline_app.ingest.grouping import Choice, choose
from pipeline_app.ingest.header import BadRawFile, FileBusy, RawHeader, is_hdf5, read_header
from pipeline_app.models import Observation, ObservationState, SubbandFile, SubbandState
from pipeline_app.naming import INCOMPLETE_MARK, RAW_SUFFIXES, BadName, parse_raw_name, tile_name
from pipeline_app.telescope import N_SUBBANDS, meridian_icrs_deg
from tasks_app.formats import escaped

STILL_WRITTEN = f"still being written: its name has {INCOMPLETE_MARK}"


@dataclass(frozen=True, kw_only=True)
class FileProblem:
    """A file that was not used, and why."""

    path: str
    problem: str


def scan(directory: Path) -> Iterator[Path | FileProblem]:
    """Yield, in order, what lies under a directory and is, or claims to be, raw: by suffix or by content.

    What looks raw and is left out is yielded as a problem: files still being written, symbolic links
    to folders, and what cannot be read.
    """
    unreadable: list[OSError] = []
    for place, folders, names in os.walk(directory, onerror=unreadable.append):
        for folder in sorted(folders):
            if Path(place, folder).is_symlink():
                yield FileProblem(
                    path=str(Path(place, folder)), problem="a symbolic link to a folder: not followed; give its target"
                )
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for name in sorted(names):
            found = _candidate(Path(place, name))
            if found is not None:
                yield found
    for error in unreadable:
        yield FileProblem(path=str(error.filename), problem=f"cannot be listed: {error.strerror}")


def _candidate(path: Path) -> Path | FileProblem | None:
    """Return the path of a file that is to be read, the problem of one that is not, or None for what is no raw file."""
    if path.name.startswith("."):
        return None
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            named_raw = path.name.endswith(RAW_SUFFIXES)
            return FileProblem(path=str(path), problem="not a regular file") if named_raw else None
        if INCOMPLETE_MARK in path.name:
            return FileProblem(path=str(path), problem=STILL_WRITTEN)
        return path.resolve() if path.name.endswith(RAW_SUFFIXES) or is_hdf5(path) else None
    except FileNotFoundError:
        return FileProblem(path=str(path), problem="a symbolic link without a target") if path.is_symlink() else None
    except (OSError, RuntimeError) as error:
        return FileProblem(path=str(path), problem=f"cannot be read: {error}")


FIRST_TIME_TOLERANCE_MS = 1
"""Files of one tile carry the same Julian date, which is good to 40 microseconds; rounding may differ by one."""
DECLINATION_TOLERANCE_CDEG = 5
"""Files of one tile were written with the same pointing; strips are degrees apart."""
NAME_TOLERANCE = timedelta(seconds=120)
"""How far a file's name may be from its content before it is a remark: hosts' clocks differ by seconds."""
INGEST_LOCK = 0x41425244
"""Key of the advisory lock that lets one process at a time place a file."""
PATH_CHARS = 1000
"""What the columns for paths hold."""
PROBLEM_CHARS = 2000
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """An observation and the files that a run is to use, highest frequency first."""

    observation: Observation
    paths: tuple[str, ...]

    @property
    def n_subbands(self) -> int:
        return len(self.paths)


@dataclass(kw_only=True)
class Ingested:
    """What a directory held."""

    tiles: list[Tile] = field(default_factory=list)
    problems: list[FileProblem] = field(default_factory=list)


def ingest_directory(directory: Path) -> Ingested:
    """Register every raw file under a directory that is taken as complete, and return its tiles in order of time.

    Where the same subband is known from elsewhere, the file of this directory takes its place. A file that cannot be
    used is a problem by name; it costs no other file.
    """
    found = Ingested()
    batch = set()
    for each in scan(directory):
        if isinstance(each, FileProblem):
            found.problems.append(each)
        else:
            batch.add(str(each))
    rows = []
    for path in sorted(batch):
        try:
            rows.append(register(Path(path), batch=batch))
        except FileBusy as fault:
            found.problems.append(FileProblem(path=path, problem=str(fault)))
    # A later file may have changed what became of an earlier one.
    now = {row.pk: row for row in SubbandFile.objects.filter(pk__in=[row.pk for row in rows if row.pk])}
    accepted: dict[int, list[SubbandFile]] = {}
    for row in (now.get(row.pk, row) for row in rows):
        if row.problem:
            found.problems.append(FileProblem(path=row.path, problem=row.problem))
        if row.state == SubbandState.ACCEPTED and row.observation_id is not None:
            accepted.setdefault(row.observation_id, []).append(row)
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
    """Read a raw file and place it in its tile; return its row, with its state and problem.

    With a `batch`, a file that is not part of it gives way to one that is. A file that cannot be used is recorded as
    such and raises nothing; the row is unsaved where the database cannot hold the path and where the file has vanished.

    Raises:
        FileBusy: another process is still writing the file.
        DatabaseError: the database does not answer or takes no writes.
    """
    seen = {"size_bytes": 0, "mtime_ns": 0}
    try:
        status = path.stat()
        seen = {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        _check_path(path)
        return _read_and_place(path, seen, batch)
    except FileNotFoundError:
        return SubbandFile(path=escaped(path), state=SubbandState.INVALID, problem="it is gone", **seen)
    except (DataError, IntegrityError) as fault:
        return _refused(path, f"its header cannot be recorded: {fault}", seen)
    except (DatabaseError, FileBusy):
        raise
    except BadRawFile as fault:
        return _refused(path, str(fault), seen)
    # Whatever else is wrong with one file must not cost the others.
    except Exception as fault:
        log.exception("could not ingest %s", escaped(path))
        return _refused(path, f"{type(fault).__name__}: {fault}", seen)


def _check_path(path: Path) -> None:
    """Raise BadRawFile for a path that the database cannot hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise BadRawFile("its name is not UTF-8: rename it") from None
    if len(str(path)) > PATH_CHARS:
        raise BadRawFile(f"its path has {len(str(path))} characters, more than {PATH_CHARS}: move it")


def _refused(path: Path, problem: str, seen: dict[str, int]) -> SubbandFile:
    """Record a file that cannot be used; return its row, unsaved where the path cannot be recorded."""
    values = {**seen, "observation": None, "state": SubbandState.INVALID, "problem": escaped(problem)[:PROBLEM_CHARS]}
    try:
        _check_path(path)
    except BadRawFile:
        return SubbandFile(path=escaped(path), **values)
    return SubbandFile.objects.update_or_create(path=str(path), defaults=values)[0]


def _read_and_place(path: Path, seen: dict[str, int], batch: Collection[str] | None) -> SubbandFile:
    header = read_header(path)
    with transaction.atomic():
        _lock()
        observation = _observation_of(header, path)
        known = observation.files.filter(path=str(path), state=SubbandState.ACCEPTED, **seen).first()
        return known or _place(path, header, observation, seen, batch)


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [INGEST_LOCK])


def _observation_of(header: RawHeader, path: Path) -> Observation:
    """Find the tile that the file belongs to, or make it; the caller holds the ingest lock.

    A copy that was averaged in time has another first time, but the same start.
    """
    declination_cdeg = round(header.declination_deg * 100)
    time_ms, start = header.first_time_ms, header.start_mjd
    start_tolerance = FIRST_TIME_TOLERANCE_MS / 86_400_000
    known = Observation.objects.filter(
        Q(first_time_ms__range=(time_ms - FIRST_TIME_TOLERANCE_MS, time_ms + FIRST_TIME_TOLERANCE_MS))
        | Q(start_mjd__range=(start - start_tolerance, start + start_tolerance)),
        telescope_name=header.telescope_name,
        declination_cdeg__range=(
            declination_cdeg - DECLINATION_TOLERANCE_CDEG,
            declination_cdeg + DECLINATION_TOLERANCE_CDEG,
        ),
    ).first()
    if known is not None:
        return known
    return Observation.objects.create(
        telescope_name=header.telescope_name,
        directory=str(path.parent),
        expected_subbands=N_SUBBANDS if header.is_dsa else None,
        **_description(header),
    )


def _description(header: RawHeader) -> dict[str, Any]:
    """Return the description of a tile by one header."""
    ra_deg, dec_deg = header.phase_centre_deg or meridian_icrs_deg(
        header.mid_mjd, header.declination_deg, header.site_deg_m
    )
    brightest = brightest_in_beam(ra_deg, dec_deg)
    return {
        "name": tile_name(_start_time(header)),
        "first_time_ms": header.first_time_ms,
        "declination_cdeg": round(header.declination_deg * 100),
        "start_mjd": header.start_mjd,
        "mid_mjd": header.mid_mjd,
        "duration_sec": header.duration_sec,
        "declination_deg": header.declination_deg,
        "ra_deg": ra_deg,
        "dec_deg": dec_deg,
        "calibrator": brightest[0].name if brightest else "",
        "calibrator_apparent_flux_jy": brightest[1] if brightest else None,
    }


def _start_time(header: RawHeader) -> datetime:
    middle = datetime.fromtimestamp(header.first_time_ms / 1000, tz=UTC)
    return middle - timedelta(seconds=header.integration_time_sec / 2)


def _place(
    path: Path, header: RawHeader, observation: Observation, seen: dict[str, int], batch: Collection[str] | None
) -> SubbandFile:
    """Add a file to its tile and decide again which files of the tile are used."""
    late = batch is None and observation.run_id is not None
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
            "state": SubbandState.DUPLICATE,
            "problem": "",
        },
    )
    choice = choose(observation, batch=batch, frozen=late)
    _record(choice, new=row, late=late)
    row.refresh_from_db()
    if not late and choice.longest is not None:
        _describe_again(observation, choice.longest)
    if row.state == SubbandState.ACCEPTED:
        _gather(observation)
    return row


def _record(choice: Choice, *, new: SubbandFile, late: bool) -> None:
    """Write what was chosen; refusals first, because a subband has one accepted file at most."""
    for row, state, problem in choice.refused:
        SubbandFile.objects.filter(pk=row.pk).update(state=state, problem=problem)
    for used in choice.used:
        if used.is_used:
            continue
        problem = _misnamed(Path(used.row.path), used.header)
        if late and used.row.pk == new.pk:
            problem = "it arrived after the run of its tile had started, which does not include it"
        SubbandFile.objects.filter(pk=used.row.pk).update(state=SubbandState.ACCEPTED, problem=problem)


def _describe_again(observation: Observation, header: RawHeader) -> None:
    """Let the longest of the used files describe the tile, where the first that came was not like the others."""
    known = (observation.start_mjd, observation.duration_sec, observation.declination_deg)
    if known == (header.start_mjd, header.duration_sec, header.declination_deg):
        return
    Observation.objects.filter(pk=observation.pk).update(**_description(header))


def _misnamed(path: Path, header: RawHeader) -> str:
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
    """Return which subbands are missing, in words."""
    held = (observation.expected_subbands or 0) - len(missing)
    return f"{held} of {observation.expected_subbands} subbands; missing {', '.join(map(str, missing))}"


def release(observation: Observation) -> bool:
    """Let an incomplete tile start with the subbands it has; return False when it was not incomplete."""
    return bool(
        Observation.objects.filter(pk=observation.pk, state=ObservationState.INCOMPLETE, run_id=None).update(
            state=ObservationState.READY, reason=F("reason")
        )
    )
