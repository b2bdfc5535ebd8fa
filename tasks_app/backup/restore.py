"""Restore a dump: always into a new database, whose rows are counted before it takes the place of another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from tasks_app.backup import dumps
from tasks_app.backup.progress import OnProgress, Tables, share
from tasks_app.backup.server import (
    BackupFailed,
    BackupInvalid,
    RestoreRefused,
    Server,
    count_rows,
    others_connected,
    plain_errors,
)

NAME_BYTES = 63
INDEXES_FROM = 0.6
"""Fraction of a restore at which all rows are there, and indexes are built."""
SHOWN = 5
_SCRATCH = re.compile(r"_scratch_(\d{8}T\d{6}Z)_[0-9a-f]{8}$")


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A database that was restored from a dump."""

    database: str
    rows: dict[str, int]
    compared: bool
    """Whether the counts were compared with those noted at the dump."""
    replaced: str = ""
    """The name that the database which it replaced has now; empty where there was none."""


@plain_errors()
def verify(
    server: Server, dump: Path, rows: Mapping[str, int] | None, *, on_progress: OnProgress = lambda *_: None
) -> dict[str, int]:
    """Restore a dump into a scratch database, compare the counts and drop it; return them. Raises BackupFailed."""
    _list(server, dump)
    _drop_abandoned(server)
    with _scratch(server) as scratch:
        return _fill(scratch, dump, rows, on_progress)


@plain_errors()
def restore_into(server: Server, dump: Path, *, on_progress: OnProgress = lambda *_: None) -> Restored:
    """Restore a dump into a new database, that of `server`. Raises BackupInvalid, RestoreRefused, BackupFailed."""
    manifest = dumps.check(dump)
    if server.exists():
        raise RestoreRefused(f"there is a database {server.name} already: give the name of a new one")
    with _scratch(server) as scratch:
        rows = _fill(scratch, dump, manifest.rows if manifest else None, on_progress)
        with server.maintenance() as session:
            _rename(session, scratch.name, server.name)
    return Restored(database=server.name, rows=rows, compared=manifest is not None)


@plain_errors()
def replace(
    server: Server, dump: Path, *, replaced_name: str = "", on_progress: OnProgress = lambda *_: None
) -> Restored:
    """Restore a dump in the place of a database, which keeps its rows under another name.

    A database with rows is replaced only when `replaced_name` is its name. The dump is restored beside it, and the two
    change names when all counts are right. Raises BackupInvalid, RestoreRefused, BackupFailed.
    """
    manifest = dumps.check(dump)
    exists = server.exists()
    if exists:
        _check_replaceable(server, replaced_name)
    _list(server, dump)
    with _scratch(server) as scratch:
        rows = _fill(scratch, dump, manifest.rows if manifest else None, on_progress)
        with server.maintenance() as session:
            aside = f"{server.name[: NAME_BYTES - 30]}_replaced_{datetime.now(UTC):{dumps.STAMP}}" if exists else ""
            with session.transaction():
                if exists:
                    _rename(session, server.name, aside)
                _rename(session, scratch.name, server.name)
    return Restored(database=server.name, rows=rows, compared=manifest is not None, replaced=aside)


def _check_replaceable(server: Server, replaced_name: str) -> None:
    with server.connect() as session:
        filled = {table: count for table, count in count_rows(session).items() if count}
        connected = others_connected(session, server.name)
    if replaced_name and replaced_name != server.name:
        raise BackupInvalid(f"the database is {server.name}, not {replaced_name}")
    if filled and not replaced_name:
        raise RestoreRefused(
            f"the database {server.name} has {sum(filled.values()):,} rows in {len(filled)} tables: "
            f"give --replace {server.name} to put the dump in its place"
        )
    if connected:
        raise RestoreRefused(f"{_still_connected(server.name, connected)}: stop web, workers and ingest first")


def _still_connected(name: str, connected: list[str]) -> str:
    more = f" and {len(connected) - SHOWN} more" if len(connected) > SHOWN else ""
    return f"the database {name} is in use by {', '.join(connected[:SHOWN])}{more}"


def _list(server: Server, dump: Path) -> None:
    """Read a dump's table of contents. Raises BackupFailed."""
    server.run("pg_restore", ["--list", str(dump)], on_table=lambda _: None)


def _fill(scratch: Server, dump: Path, rows: Mapping[str, int] | None, on_progress: OnProgress) -> dict[str, int]:
    """Restore into an empty database and return the counts; they must be those of `rows`. Raises BackupFailed."""
    tables = Tables(rows or {}, "restoring", share(on_progress, 0.0, INDEXES_FROM))
    arguments = ["--exit-on-error", "--no-owner", "--no-privileges", f"--dbname={scratch.name}", str(dump)]
    scratch.run("pg_restore", arguments, on_table=tables)
    on_progress(0.9, "counting rows")
    with scratch.connect() as session:
        session.execute("SET statement_timeout = 0")
        session.execute("ANALYZE")
        found = count_rows(session)
    if rows is not None and found != rows:
        different = [table for table in sorted({*found, *rows}) if found.get(table) != rows.get(table)]
        listed = ", ".join(f"{name} {found.get(name)} instead of {rows.get(name)}" for name in different[:SHOWN])
        raise BackupFailed(f"{len(different)} tables of the restored database have other counts: {listed}")
    return found


@contextmanager
def _scratch(server: Server) -> Iterator[Server]:
    """Yield a new, empty database, dropped at the end unless it has been renamed. Raises BackupFailed."""
    stamp = f"{datetime.now(UTC):{dumps.STAMP}}"
    scratch = server.database(f"{server.name[: NAME_BYTES - 36]}_scratch_{stamp}_{uuid4().hex[:8]}")
    with server.maintenance() as session:
        try:
            session.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(scratch.name))
            )
        except psycopg.errors.InsufficientPrivilege as error:
            raise BackupFailed(
                f"the role {session.info.user} may not create databases: set ABSURD_BACKUP_DATABASE_URL to one that may"
            ) from error
    try:
        yield scratch
    finally:
        with server.maintenance() as session:
            drop(session, scratch.name)


def _drop_abandoned(server: Server) -> None:
    """Drop the scratch databases of processes that were killed."""
    with server.maintenance() as session:
        names = [name for (name,) in session.execute("SELECT datname FROM pg_database").fetchall()]
        for name in names:
            found = _SCRATCH.search(name)
            if not found or not server.name.startswith(name[: found.start()]):
                continue
            made_at = datetime.strptime(found[1], dumps.STAMP).replace(tzinfo=UTC)
            old = made_at < datetime.now(UTC) - timedelta(seconds=dumps.ABANDONED_SEC)
            if old and not others_connected(session, name):
                drop(session, name)


def drop(session: psycopg.Connection[Any], name: str) -> None:
    """Drop a database, and end the sessions in it."""
    session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _rename(session: psycopg.Connection[Any], name: str, new: str) -> None:
    """Rename a database. Raises RestoreRefused when somebody has connected to it meanwhile."""
    statement = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(new))
    try:
        session.execute(statement)
    except psycopg.errors.ObjectInUse:
        who = others_connected(session, name)
        raise RestoreRefused(f"{_still_connected(name, who)}: nothing was replaced") from None
