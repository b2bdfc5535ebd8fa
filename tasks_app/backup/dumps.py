"""Dumps as files: their names, what is noted beside each, and which are kept."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks_app.backup.server import BackupFailed, BackupInvalid
from tasks_app.errors import TryLater
from tasks_app.files.directories import make_private

SUFFIX, MANIFEST_SUFFIX, PARTIAL_SUFFIX = ".dump", ".json", ".partial"
STAMP = "%Y%m%dT%H%M%SZ"
_STAMPED = re.compile(r"-\d{8}T\d{6}Z$")
MAGIC = b"PGDMP"
BLOCK_BYTES = 1 << 20
ABANDONED_SEC = 86_400
"""A partial file or a scratch database of that age belongs to a process that was killed."""


class BackupBusy(TryLater):
    """Another backup writes into the directory."""

    code = "backup_busy"
    text = "another backup is being written to {}"


class Manifest(BaseModel):
    """What is noted beside a dump; `rows` were counted in the snapshot that was dumped."""

    model_config = ConfigDict(frozen=True)
    database: str
    made_at: datetime
    absurd_version: str
    server_version: str
    size_bytes: int
    sha256: str
    rows: dict[str, int]
    verified: bool
    """Whether it was restored into a scratch database and every count was the same."""


def name_of(database: str, moment: datetime) -> str:
    """Return the file name of a dump."""
    return f"{database}-{moment.astimezone(UTC):{STAMP}}{SUFFIX}"


def manifest_path(dump: Path) -> Path:
    """Return the path of a dump's manifest."""
    return dump.with_suffix(MANIFEST_SUFFIX)


def read_manifest(dump: Path) -> Manifest | None:
    """Return what was noted beside a dump, or None where there is nothing. Raises BackupInvalid."""
    path = manifest_path(dump)
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise BackupInvalid(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def check(dump: Path) -> Manifest | None:
    """Return the manifest of a dump whose size and checksum are those noted there. Raises BackupInvalid."""
    try:
        with dump.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise BackupInvalid(f"{dump} is not a dump in PostgreSQL's custom format, as absurd_backup writes it")
    except OSError as error:
        raise BackupInvalid(f"{dump} cannot be read: {error.strerror}") from error
    manifest = read_manifest(dump)
    if manifest is None:
        return None
    size_bytes = dump.stat().st_size
    if size_bytes != manifest.size_bytes:
        raise BackupInvalid(f"{dump} has {size_bytes:,} bytes, not the {manifest.size_bytes:,} that were written")
    if sha256_of(dump) != manifest.sha256:
        raise BackupInvalid(f"{dump} is damaged: its checksum is not the one noted beside it")
    return manifest


def sha256_of(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def of_database(directory: Path, database: str) -> list[Path]:
    """Return the finished dumps of a database, newest first."""
    found = [
        path
        for path in directory.glob(f"*{SUFFIX}")
        if path.stem.startswith(database) and _STAMPED.fullmatch(path.stem.removeprefix(database))
    ]
    return sorted(found, key=lambda path: path.name, reverse=True)


def remove_old(directory: Path, database: str, keep: int) -> list[Path]:
    """Remove all but the newest dumps of a database, each dump before its manifest; return the dumps removed."""
    removed = of_database(directory, database)[keep:]
    for path in removed:
        path.unlink(missing_ok=True)
        manifest_path(path).unlink(missing_ok=True)
    return removed


def remove_abandoned(directory: Path) -> None:
    """Remove partial files that a killed process has left, and manifests without a dump."""
    old = time.time() - ABANDONED_SEC
    partial = list(directory.glob(f"*{PARTIAL_SUFFIX}"))
    alone = [path for path in directory.glob(f"*{MANIFEST_SUFFIX}") if not path.with_suffix(SUFFIX).exists()]
    for path in partial + [path for path in alone if _STAMPED.search(path.stem)]:
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < old:
                path.unlink()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Make the directory and hold its lock. Raises BackupBusy, BackupFailed."""
    try:
        make_private(directory)
        stream = (directory / ".lock").open("a")
    except OSError as error:
        raise BackupFailed(f"{directory} cannot be written to: {error.strerror}; set ABSURD_BACKUP_DIR") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupBusy(directory) from None
        yield


def publish(partial: Path, dump: Path, manifest: Manifest) -> None:
    """Give a dump its name, on the disk for good: the manifest first, so that no dump is without one."""
    noted = manifest_path(dump).with_suffix(f"{MANIFEST_SUFFIX}{PARTIAL_SUFFIX}")
    noted.touch(mode=0o600)
    noted.write_text(manifest.model_dump_json(indent=2) + "\n")
    for path in (partial, noted):
        _sync(path)
    noted.rename(manifest_path(dump))
    partial.rename(dump)
    _sync(dump.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
