"""`manage.py absurd_roles`: PostgreSQL's roles and what each may do."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import ProgrammingError

from tasks_app.management.shell import FAILED, ShellCommand, refuse
from tasks_app.postgresql.roles import Roles, apply

NAME_BYTES = 63


class Command(ShellCommand):
    help = (
        "Create PostgreSQL's roles if missing and set what each may do in this database: the owner changes the schema "
        "and makes backups, the app reads and writes rows (web, workers, ingest), the reader reads all but accounts "
        "and keys. Run it as a superuser before the first migration, and again after each. "
        "Exit codes: 0 ok, 1 failed, 2 usage, 75 the database does not answer."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        for role in ("owner", "app", "reader"):
            default = f"absurd_{role}"
            help_text = f"name of the role (default: {default})"
            parser.add_argument(f"--{role}", default=default, metavar="ROLE", help=help_text)
        files = "keep a password for each role in a file of its name here, made if missing, readable by its owner only"
        parser.add_argument("--password-directory", type=Path, metavar="DIR", help=files)
        parser.add_argument("--database-url", metavar="URL", help="use this database instead of ABSURD_DATABASE_URL")
        parser.add_argument("--json", action="store_true", help="write what was done as JSON")

    def act(self, options: dict[str, Any]) -> None:
        roles = Roles(owner=options["owner"], app=options["app"], reader=options["reader"])
        names = roles.each()
        if len(set(names)) < len(names):
            refuse(f"three different roles are needed, not {', '.join(names)}")
        for name in names:
            if not name or "/" in name or len(name.encode()) > NAME_BYTES or name.startswith(("pg_", ".")):
                refuse(f"{name!r} cannot be the name of a role: write 1 to {NAME_BYTES} letters, digits or underscores")
        directory = options["password_directory"]
        passwords = dict(_passwords(directory, names)) if directory else {}
        try:
            done = apply(roles, passwords)
        except ProgrammingError as error:
            reason = str(error).split("\n", 1)[0]
            raise CommandError(f"{reason}: run it as a superuser of PostgreSQL", returncode=FAILED) from error
        self.show(options, {"roles": list(names), "done": done}, done)


def _passwords(directory: Path, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the password of each role: that of its file, which is made if missing."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in names:
            path = directory / name
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                yield name, path.read_text().strip()
                continue
            password = secrets.token_urlsafe(30)
            with os.fdopen(descriptor, "w") as file:
                file.write(password + "\n")
            yield name, password
    except OSError as error:
        refuse(f"{error.filename} cannot be used: {error.strerror}")
