"""`manage.py absurd_backup`: a dump of the database that has been restored once."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from tasks_app.backup.backup import Backup, make, note
from tasks_app.backup.server import Server, plain_errors
from tasks_app.formats import count
from tasks_app.management.arguments import whole
from tasks_app.management.printing import percent_bar
from tasks_app.management.shell import ShellCommand

KEEP_MOST = 10_000


class Command(ShellCommand):
    help = (
        "Dump the database with the pg_dump of the server's version (custom format) into ABSURD_BACKUP_DIR, restore "
        "the dump into a scratch database, compare the rows of every table, and only then remove older dumps. The "
        "products are files and are not in it. Exit codes: 0 ok, 1 failed, 2 usage, 75 another backup is running, or "
        "the database does not answer."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--directory", type=Path, metavar="DIR", help="write here instead of ABSURD_BACKUP_DIR")
        add(
            "--keep",
            type=whole(1, KEEP_MOST),
            metavar="N",
            help="keep the newest N dumps instead of ABSURD_BACKUP_KEEP",
        )
        add("--no-verify", action="store_true", help="do not restore the dump into a scratch database")
        add("--database-url", metavar="URL", help="back up this database instead of ABSURD_DATABASE_URL")
        shown = "only print exports of PATH and libpq's variables, with which pg_dump and psql reach the database"
        add("--environment", action="store_true", help=shown)
        add("--json", action="store_true", help="write what was made as JSON")

    def act(self, options: dict[str, Any]) -> None:
        if options["environment"]:
            self._print_environment(Server.configured())
            return
        started_at = time.monotonic()
        with percent_bar("backup") as on_progress:
            made = make(
                Server.configured(),
                (options["directory"] or settings.ABSURD_BACKUP_DIR).absolute(),
                keep=options["keep"] or settings.ABSURD_BACKUP_KEEP,
                verify=not options["no_verify"],
                on_progress=on_progress,
            )
        note(made)
        took_sec = round(time.monotonic() - started_at, 3)
        noted = made.manifest.model_dump(mode="json")
        content = {"path": str(made.path), **noted, "removed": list(map(str, made.removed)), "took_sec": took_sec}
        self.show(options, content, _lines(made, took_sec))

    @plain_errors()
    def _print_environment(self, server: Server) -> None:
        for name, value in server.environment().items():
            self.stdout.write(f"export {name}={shlex.quote(value)}")
        self.stdout.write(f"export PATH={shlex.quote(str(server.program('pg_dump').parent))}:$PATH")


def _lines(made: Backup, took_sec: float) -> Iterator[str]:
    noted = made.manifest
    rows = f"{sum(noted.rows.values()):,} rows of {count(len(noted.rows), 'table')}"
    yield f"{made.path}: {rows}, {noted.size_bytes / 1e6:.1f} MB, in {took_sec:.1f} s"
    yield "restored into a scratch database, where every count was the same" if noted.verified else "not verified"
    if made.removed:
        yield f"removed {count(len(made.removed), 'older dump')}"
