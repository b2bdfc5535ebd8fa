"""Make a dump: of one snapshot, in which the rows are counted too, and restored once before it is called a backup."""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.db import Error, connection

from tasks_app.backup import dumps, restore
from tasks_app.backup.dumps import Manifest
from tasks_app.backup.progress import OnProgress, Tables, share
from tasks_app.backup.server import BackupFailed, Server, count_rows, may_create_databases, plain_errors, scalar
from tasks_app.models import LastBackup
from tasks_app.version import VERSION

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A dump that was made, and the older ones that were removed for it."""

    path: Path
    manifest: Manifest
    removed: list[Path]


@plain_errors()
def make(
    server: Server, directory: Path, *, keep: int, verify: bool = True, on_progress: OnProgress = lambda *_: None
) -> Backup:
    """Dump a database into a directory, keep the newest `keep` dumps, and return what was made.

    With `verify` the dump is restored into a scratch database, where every count must be that of the snapshot; older
    dumps are removed only afterwards. Raises BackupFailed, BackupBusy, django.db.OperationalError.
    """
    with dumps.locked(directory):
        dumps.remove_abandoned(directory)
        if verify:
            _check_scratch(server)
        moment = datetime.now(UTC)
        path = directory / dumps.name_of(server.name, moment)
        if path.exists():
            raise BackupFailed(f"{path} was made within this second")
        partial = path.with_suffix(f"{dumps.SUFFIX}{dumps.PARTIAL_SUFFIX}")
        try:
            manifest = _dump(server, partial, moment, share(on_progress, 0.0, 0.5 if verify else 1.0))
            if verify:
                restore.verify(server, partial, manifest.rows, on_progress=share(on_progress, 0.5, 1.0))
                manifest = manifest.model_copy(update={"verified": True})
            dumps.publish(partial, path, manifest)
        except OSError as error:
            raise BackupFailed(f"{path} cannot be written: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)
        return Backup(path=path, manifest=manifest, removed=dumps.remove_old(directory, server.name, keep))


def note(made: Backup) -> None:
    """Remember a backup of this process's database, whose age is watched; that it cannot be stored spoils no backup."""
    noted = made.manifest
    if noted.database != connection.settings_dict["NAME"]:
        return
    found = {"host": platform.node(), "path": str(made.path), "size_bytes": noted.size_bytes}
    try:
        LastBackup.objects.update_or_create(pk=1, defaults={"made_at": noted.made_at, **found})
    except Error as error:
        logger.warning("that a backup was made could not be noted in the database: %s", error)


def _check_scratch(server: Server) -> None:
    with server.connect() as session:
        if not may_create_databases(session):
            raise BackupFailed(
                f"the role {session.info.user} may not create the scratch database into which a dump is restored: "
                "set ABSURD_BACKUP_DATABASE_URL to a role that may (CREATEDB), or give --no-verify"
            )


def _dump(server: Server, partial: Path, moment: datetime, on_progress: OnProgress) -> Manifest:
    with server.connect() as session, session.transaction():
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        session.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        session.execute("SET LOCAL statement_timeout = 0")
        on_progress(0.0, "counting rows")
        rows = count_rows(session)
        partial.touch(mode=0o600)
        snapshot = scalar(session, "SELECT pg_export_snapshot()")
        arguments = ["--format=custom", f"--snapshot={snapshot}", f"--file={partial}"]
        server.run("pg_dump", arguments, on_table=Tables(rows, "dumping", on_progress))
        version = session.info.parameter_status("server_version") or ""
    return Manifest(
        database=server.name,
        made_at=moment,
        absurd_version=VERSION,
        server_version=version.split()[0],
        size_bytes=partial.stat().st_size,
        sha256=dumps.sha256_of(partial),
        rows=rows,
        verified=False,
    )
