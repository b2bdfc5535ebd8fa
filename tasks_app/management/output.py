"""Output of commands: text from outside is escaped, a closed pipe is no error, usage errors are one line."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import Any, ClassVar, NoReturn, TextIO

from django.core.management.base import BaseCommand, CommandParser, OutputWrapper

from tasks_app.formats import escaped

USAGE, PIPE_CLOSED = 2, 141
LINES = "\n\t"


def write_line(stream: TextIO, line: str) -> None:
    """Write a line, escaped, and flush it; a closed pipe is ignored."""
    write_text(stream, f"{escaped(line, keep=LINES)}\n")
    flush(stream)


def write_text(stream: TextIO, text: str) -> None:
    """Write text as it is, with escapes for characters that the stream's encoding lacks; a closed pipe is ignored."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    except BrokenPipeError:
        discard_output(stream)


def flush(stream: TextIO) -> None:
    """Flush a stream; a closed pipe is ignored."""
    try:
        stream.flush()
    except BrokenPipeError:
        discard_output(stream)


def discard_output(stream: TextIO) -> None:
    """Redirect a stream to the null device, so that writing fails neither now nor at the interpreter's end."""
    with contextlib.suppress(OSError, ValueError):
        null_device = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null_device, stream.fileno())
        os.close(null_device)


class SafeOutput(OutputWrapper):
    """A command's output: what is not printable is escaped, save line breaks and tabs."""

    def __init__(self, out: TextIO, *, stops_at_closed_pipe: bool = False) -> None:
        super().__init__(out)
        self._stream = out
        self._stops = stops_at_closed_pipe

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
        try:
            super().flush()
        except BrokenPipeError:
            self._stop()

    def _stop(self) -> None:
        discard_output(self._stream)
        if self._stops:
            raise SystemExit(PIPE_CLOSED)


class PrintingCommand(BaseCommand):
    """A command whose output is safe and whose usage errors are one line and exit code 2."""

    stops_at_closed_pipe: ClassVar[bool] = False
    """Whether a closed pipe (`| head`) ends it: for commands that only show something."""

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
        return SafeOutput(stream, stops_at_closed_pipe=self.stops_at_closed_pipe)


def _subparsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    found = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [each for choices in found for each in choices.values()]
