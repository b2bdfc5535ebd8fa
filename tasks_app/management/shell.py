"""The base of the operators' commands: actor, exit codes, refusals in one line, output as lines or JSON."""

from __future__ import annotations

import getpass
import json
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NoReturn

from django.core.management.base import CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error, ProgrammingError

from tasks_app import errors
from tasks_app.engine import notify
from tasks_app.formats import escaped
from tasks_app.management.output import PrintingCommand
from tasks_app.postgresql import outages

FAILED, USAGE, NOT_FOUND, ILLEGAL_STATE, UNHEALTHY, TRY_LATER = 1, 2, 3, 4, 5, 75
INTERRUPTED = 130
DRY_RUN = " (dry run: nothing was done)"
_EXIT_OF: dict[type[errors.AbsurdError], int] = {
    errors.NotFound: NOT_FOUND,
    errors.Conflict: ILLEGAL_STATE,
    errors.Invalid: USAGE,
    errors.TryLater: TRY_LATER,
}


def exit_code_of(error: errors.AbsurdError) -> int:
    """Return the exit code of a refusal."""
    return next((_EXIT_OF[kind] for kind in type(error).__mro__ if kind in _EXIT_OF), FAILED)


class ShellCommand(PrintingCommand, ABC):
    """A command whose refusals are one line and an exit code."""

    # The checks would load the console and the API for nothing.
    requires_system_checks = ()
    stops_at_closed_pipe = True

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.act(options)
        except errors.AbsurdError as error:
            raise CommandError(str(error), returncode=exit_code_of(error)) from error
        except Error as error:
            if outages.is_outage(error):
                message = f"{outages.describe(error)}; see manage.py absurd_doctor"
                raise CommandError(message, returncode=TRY_LATER) from error
            if not isinstance(error, ProgrammingError):
                raise
            first = str(error).strip().split("\n", 1)[0]
            message = f"the database schema is not that of this version: run manage.py migrate ({first})"
            raise CommandError(message, returncode=FAILED) from error
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        finally:
            notify.publisher.finish()

    @abstractmethod
    def act(self, options: dict[str, Any]) -> None:
        """Carry out the command."""

    def show(self, options: dict[str, Any], content: Any, lines: Iterable[str]) -> None:
        """Write lines for people, or with --json the content, which may be a function that returns it."""
        if options["json"]:
            self.write_json(content() if callable(content) else content)
        else:
            for line in lines:
                self.stdout.write(line)

    def write_json(self, content: Any, *, indent: int | None = 2) -> None:
        """Write one JSON document; what is not printable is written as JSON's own escape."""
        text = json.dumps(content, indent=indent, ensure_ascii=False, cls=DjangoJSONEncoder)
        self.stdout.write(
            "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)
        )

    def confirm(self, question: str, options: dict[str, Any], *, typed: str = "") -> None:
        """Ask for confirmation, unless --yes was given; with `typed` this word must be typed."""
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError("standard input is not a terminal: give --yes or --dry-run", returncode=USAGE)
        try:
            question = escaped(question)
            answer = input(f"{question} Type {typed} to continue: " if typed else f"{question} [y/N] ").strip()
        except EOFError:
            answer = ""
        if answer != typed if typed else answer.lower() not in ("y", "yes"):
            raise CommandError("nothing was done", returncode=FAILED)


def refuse(message: str) -> NoReturn:
    """End the command for wrong usage that the parser cannot see."""
    raise CommandError(message, returncode=USAGE)


def actor() -> str:
    """Return the name of the command's user in events."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return f"cli:{name}@{socket.gethostname()}"
