"""What commands write: text from outside escaped, a closed pipe no fault, usage errors in one line."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import Any, ClassVar, NoReturn, TextIO

from django.core.management.base import BaseCommand, CommandParser, OutputWrapper

from tasks_app.plain_text import escaped

USAGE, PIPE_CLOSED = 2, 141
LINES = "\n\t"


def write_line(stream: TextIO, line: str) -> None:
    """Write a line, escaped, and flush it; a reader that is gone is no reason to stop."""
    write_text(stream, f"{escaped(line, keep=LINES)}\n")
    flush(stream)


def write_text(stream: TextIO, text: str) -> None:
    """Write text as it is, with escapes for what the stream's encoding lacks; quietly nothing without a reader."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    except BrokenPipeError:
        forget_reader(stream)


def flush(stream: TextIO) -> None:
    """Flush a stream; quietly nothing without a reader."""
    try:
        stream.flush()
    except BrokenPipeError:
        forget_reader(stream)


def forget_reader(stream: TextIO) -> None:
    """Send what is still written to a stream nowhere, so that it fails neither now nor at the interpreter's end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class SafeOutput(OutputWrapper):
    """A command's output: what is not printable is escaped, save line breaks and tabs."""

    def __init__(self, out: TextIO, *, stops_without_reader: bool = False) -> None:
        super().__init__(out)
        self._stream = out
        self._stops = stops_without_reader

    def write(self, msg: str = "", style_func: Any = None, ending: str | None = None) -> None:  # type: ignore[override]
        """Write a text, escaped, with a line break behind it unless it has one. Raises SystemExit, see the command."""
        text = escaped(msg, keep=LINES)
        ending = self.ending if ending is None else ending
        if ending and not text.endswith(ending):
            text += ending
        self.write_raw((style_func or self.style_func)(text))

    def write_raw(self, text: str) -> None:
        """Write our own control sequences and text as they are."""
        if not self._stops:
            write_text(self._stream, text)
            return
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            write_text(self._stream, text)
        except BrokenPipeError:
            self._stop()

    def flush(self) -> None:
        """Flush. Raises SystemExit, see the command."""
        try:
            super().flush()
        except BrokenPipeError:
            self._stop()

    def _stop(self) -> None:
        forget_reader(self._stream)
        if self._stops:
            raise SystemExit(PIPE_CLOSED)


class PrintingCommand(BaseCommand):
    """A command whose output is safe and whose usage errors are one line and exit code 2."""

    stops_without_reader: ClassVar[bool] = False
    """Whether a closed pipe (`| head`) ends it: what only shows something need not go on."""

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None, **options: Any) -> None:
        super().__init__(stdout, stderr, **options)
        styled = self.stderr.style_func
        self.stdout, self.stderr = self._safe(stdout or sys.stdout), self._safe(stderr or sys.stderr)
        self.stderr.style_func = styled

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command, with streams that the caller gives made safe too."""
        for name in ("stdout", "stderr"):
            if given := options.pop(name, None):
                setattr(self, name, self._safe(given))
        try:
            return super().execute(*args, **options)
        finally:
            self.stderr.flush()
            self.stdout.flush()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Make a usage error one line and exit code 2, also behind a subcommand."""
        parser = super().create_parser(prog_name, subcommand, **({"allow_abbrev": False} | kwargs))

        def complain(message: str) -> NoReturn:
            write_line(sys.stderr, f"{subcommand}: {message}")
            raise SystemExit(USAGE)

        for each in (parser, *_subparsers(parser)):
            each.error = complain  # type: ignore[method-assign]
        return parser

    def _safe(self, stream: TextIO) -> SafeOutput:
        if isinstance(stream, OutputWrapper):
            stream = stream._out
        return SafeOutput(stream, stops_without_reader=self.stops_without_reader)


def _subparsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    found = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [each for choices in found for each in choices.values()]
