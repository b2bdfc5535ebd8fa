"""What the operators' commands share: who acts, exit codes, usage errors in one line."""

from __future__ import annotations

import getpass
import json
import socket
import sys
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from tasks_app import errors

FAILED, USAGE, NOT_FOUND, ILLEGAL_STATE, TRY_LATER = 1, 2, 3, 4, 75
_EXIT_OF: dict[type[errors.AbsurdError], int] = {
    errors.ScheduleNotFound: NOT_FOUND,
    errors.TaskNotFound: NOT_FOUND,
    errors.QueueNotFound: NOT_FOUND,
    errors.LimitNotFound: NOT_FOUND,
    errors.AlreadyFrozen: ILLEGAL_STATE,
    errors.NotFrozen: ILLEGAL_STATE,
    errors.InvalidTransition: ILLEGAL_STATE,
    errors.ParamsInvalid: USAGE,
    errors.Disabled: TRY_LATER,
}


class ShellCommand(BaseCommand):
    """A command whose refusals are one line and an exit code."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Make a usage error one line and exit code 2."""
        parser = super().create_parser(prog_name, subcommand, allow_abbrev=False, **kwargs)

        def complain(message: str) -> NoReturn:
            sys.stderr.write(f"{subcommand}: {message}\n")
            raise SystemExit(USAGE)

        parser.error = complain  # type: ignore[method-assign]
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.act(options)
        except errors.AbsurdError as error:
            raise CommandError(str(error), returncode=_EXIT_OF.get(type(error), FAILED)) from error

    def act(self, options: dict[str, Any]) -> None:
        """Do what the command is for."""
        raise NotImplementedError

    def write_json(self, content: Any) -> None:
        """Write one JSON document."""
        self.stdout.write(json.dumps(content, indent=2, ensure_ascii=False, cls=DjangoJSONEncoder))

    def confirm(self, question: str, options: dict[str, Any]) -> None:
        """Ask before going on, unless --yes was given."""
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError("nobody is there to confirm; give --yes", returncode=USAGE)
        if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was done", returncode=FAILED)


def actor() -> str:
    """Return how events name whoever runs the command."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return f"cli:{name}@{socket.gethostname()}"
