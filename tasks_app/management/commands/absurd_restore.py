"""`manage.py absurd_restore`: a dump back into a database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import connection

from tasks_app.backup import dumps, restore
from tasks_app.backup.restore import Restored
from tasks_app.backup.server import BackupInvalid, Server
from tasks_app.formats import count
from tasks_app.management.printing import percent_bar
from tasks_app.management.shell import ShellCommand

LATEST = "latest"


class Command(ShellCommand):
    help = (
        "Restore a dump of absurd_backup. It is restored beside the database, every table is counted, and only then "
        "the two change names; the database that was replaced stays under another name until you drop it. Stop web, "
        "workers and ingest first. Exit codes: 0 ok, 1 failed, 2 usage or no usable dump, 4 the database has rows and "
        "--replace was not given, or is in use, 75 the database server does not answer."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("dump", metavar="FILE", help=f"the dump, or {LATEST}: the newest one in ABSURD_BACKUP_DIR")
        ways = parser.add_mutually_exclusive_group()
        ways.add_argument("--replace", default="", metavar="DATABASE", help="the name of the database that is replaced")
        ways.add_argument("--into", default="", metavar="DATABASE", help="restore into a new database of this name")
        ways.add_argument("--check", action="store_true", help="restore into a scratch database, count and drop it")
        add("--database-url", metavar="URL", help="restore into this database instead of ABSURD_DATABASE_URL")
        add("--json", action="store_true", help="write what was done as JSON")

    def act(self, options: dict[str, Any]) -> None:
        server = Server.configured()
        dump = _dump(options["dump"], server.name)
        # A restore must not be held up by this process's own sessions.
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]
        started_at = time.monotonic()
        with percent_bar("restore") as on_progress:
            if options["check"]:
                manifest = dumps.check(dump)
                rows = restore.verify(server, dump, manifest.rows if manifest else None, on_progress=on_progress)
                done = Restored(database="", rows=rows, compared=manifest is not None)
            elif options["into"]:
                done = restore.restore_into(server.database(options["into"]), dump, on_progress=on_progress)
            else:
                name = options["replace"]
                done = restore.replace(server, dump, replaced_name=name, on_progress=on_progress)
        took_sec = round(time.monotonic() - started_at, 3)
        content = {
            "dump": str(dump),
            "database": done.database or None,
            "replaced": done.replaced or None,
            "rows": done.rows,
            "compared": done.compared,
            "took_sec": took_sec,
        }
        self.show(options, content, _lines(dump, done, took_sec))


def _dump(given: str, database: str) -> Path:
    if given != LATEST:
        return Path(given).absolute()
    directory = settings.ABSURD_BACKUP_DIR
    found = dumps.of_database(directory, database)
    if not found:
        raise BackupInvalid(f"{directory} has no dump of the database {database}")
    return found[0]


def _lines(dump: Path, done: Restored, took_sec: float) -> Iterator[str]:
    where = f"into {done.database}" if done.database else "into a scratch database, which was dropped"
    yield f"{dump} was restored {where}, in {took_sec:.1f} s"
    rows = f"{sum(done.rows.values()):,} rows in {count(len(done.rows), 'table')}"
    yield f"{rows}: " + ("as counted when it was made" if done.compared else "there is no manifest to compare with")
    if done.replaced:
        yield f"the former database is kept as {done.replaced}; to remove it: DROP DATABASE {_quoted(done.replaced)}"
    if done.database:
        yield "next: manage.py migrate if the dump is of an older version, absurd_roles if roles are used, then start"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
