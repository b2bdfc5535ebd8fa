"""The server that is backed up: how to reach it, its programs, its databases and the rows in them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from django.conf import settings
from django.db import OperationalError, connection
from psycopg import pq, sql
from psycopg.conninfo import conninfo_to_dict

from tasks_app.errors import AbsurdError, Conflict, Invalid
from tasks_app.postgresql import programs

MAINTENANCE = ("postgres", "template1")
"""Databases to be connected to while another one is created, renamed or dropped."""
APPLICATION = "absurd-backup"
LAST_LINES = 3
_TABLE = re.compile(r'(?:dumping contents of|processing data for) table "(.+)"')
_FAULT = re.compile(r"\b(error|fatal|detail|hint): ", re.IGNORECASE)

OnTable = Callable[[str], None]
"""Called each time a program has come to one more table, with its schema and name."""


class BackupFailed(AbsurdError):
    """A backup or a restore could not be carried out."""

    code = "backup_failed"


class BackupInvalid(Invalid):
    """What was given is no backup, or does not fit."""

    code = "backup_invalid"


class RestoreRefused(Conflict):
    """The state of the database does not allow a restore."""

    code = "restore_refused"


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn psycopg's errors into Django's for a server that does not answer, else into BackupFailed."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise OperationalError(str(error)) from error
    except psycopg.Error as error:
        raise BackupFailed(str(error).splitlines()[0]) from error


@dataclass(frozen=True, kw_only=True)
class Server:
    """One database and how libpq reaches it."""

    parameters: Mapping[str, str]
    """libpq's keywords and values, the database's name among them."""

    @classmethod
    def configured(cls) -> Server:
        """Return the database of ABSURD_BACKUP_DATABASE_URL, else that of this process."""
        if url := settings.ABSURD_BACKUP_DATABASE_URL:
            given = conninfo_to_dict(url)
        else:
            given = connection.get_connection_params()
        known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
        found = {name: str(value) for name, value in given.items() if name in known and value not in (None, "")}
        return cls(parameters={**found, "application_name": APPLICATION})

    @property
    def name(self) -> str:
        """The database's name."""
        return self.parameters["dbname"]

    def database(self, name: str) -> Server:
        """Return another database of the same server."""
        return replace(self, parameters={**self.parameters, "dbname": name})

    def connect(self) -> psycopg.Connection[Any]:
        """Open a session in autocommit mode. Raises psycopg.OperationalError."""
        options: Any = self.parameters
        return psycopg.connect(autocommit=True, **options)

    def exists(self) -> bool:
        """Whether the server has a database of this name."""
        with self.maintenance() as session:
            return bool(session.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self.name]).fetchone())

    @contextmanager
    def maintenance(self) -> Iterator[psycopg.Connection[Any]]:
        """Yield a session in a database of the server that is not this one. Raises psycopg.OperationalError."""
        first, second = MAINTENANCE
        try:
            session = self.database(first).connect()
        except psycopg.OperationalError:
            session = self.database(second).connect()
        with session:
            yield session

    def run(self, program: str, arguments: Sequence[str], *, on_table: OnTable) -> None:
        """Run one of PostgreSQL's programs, of the server's version, on this database. Raises BackupFailed."""
        faults: list[str] = []
        with subprocess.Popen(
            [str(self.program(program)), "--verbose", "--no-password", *arguments],
            env={**os.environ, **self.environment(), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process:
            try:
                for line in process.stderr or ():
                    if found := _TABLE.search(line):
                        on_table(found[1])
                    elif _FAULT.search(line):
                        faults.append(line.strip())
            except BaseException:
                process.terminate()
                raise
        code = process.returncode
        if code:
            raise BackupFailed(f"{program} ended with code {code}: {' '.join(faults[:LAST_LINES]) or 'see its log'}")

    def program(self, name: str) -> Path:
        """Return the path of a program of the server's own version. Raises BackupFailed.

        A newer one writes statements that an older server does not know.
        """
        major = self._major()
        directory = programs.of_version(major, name)
        if directory is None:
            raise BackupFailed(
                f"the server is PostgreSQL {major}, and its {name} is not installed here: "
                f"apt-get install postgresql-client-{major}"
            )
        return directory / name

    def _major(self) -> int:
        with self.maintenance() as session:
            return session.info.server_version // 10_000

    def environment(self) -> dict[str, str]:
        """Return the variables by which libpq reaches this database: a password is in no list of processes."""
        variables = {option.keyword.decode(): option.envvar for option in pq.Conninfo.get_defaults()}
        named = {variables[name]: value for name, value in self.parameters.items()}
        return {variable.decode(): value for variable, value in named.items() if variable}


def count_rows(session: psycopg.Connection[Any]) -> dict[str, int]:
    """Return the exact number of rows of each table, by schema and name."""
    tables = session.execute(
        "SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE relkind = 'r' AND relpersistence <> 't'"
        " AND nspname NOT LIKE 'pg\\_%%' AND nspname <> 'information_schema' ORDER BY 1, 2"
    ).fetchall()
    counts = {}
    for schema, table in tables:
        query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, table))
        counts[f"{schema}.{table}"] = int(scalar(session, query))
    return counts


def others_connected(session: psycopg.Connection[Any], name: str) -> list[str]:
    """Return who else is connected to a database: application, user and address of each session."""
    rows = session.execute(
        "SELECT coalesce(nullif(application_name, ''), 'unnamed'), usename, coalesce(host(client_addr), 'local')"
        " FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        [name],
    )
    return [f"{application} ({user}, {address})" for application, user, address in rows]


def may_create_databases(session: psycopg.Connection[Any]) -> bool:
    """Whether the session's role may create a database."""
    return bool(scalar(session, "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"))


def scalar(session: psycopg.Connection[Any], query: LiteralString | sql.Composed) -> Any:
    """Return the one value that a query gives."""
    return session.execute(query).fetchall()[0][0]
