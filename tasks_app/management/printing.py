"""Tables on standard output, progress bars on standard error and only on a terminal, and repeated output."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any, TextIO, TypeVar, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from tasks_app import formats
from tasks_app.formats import escaped
from tasks_app.management.output import LINES, discard_output

T = TypeVar("T")
GAP = "  "
PLAIN_WIDTH = 150


class SafeConsole(Console):
    """A rich console for text from outside: no markup in it, nothing unprintable, and a closed pipe is no fault.

    Where the stream is no terminal it is wide enough to cut nothing. Colours come from `Text` objects and styles.
    """

    def __init__(self, file: IO[str]) -> None:
        width = None if file.isatty() else PLAIN_WIDTH
        super().__init__(file=file, width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a plain text, escaped, so that its width is that of what is shown."""
        return super().render_str(escaped(text, keep=LINES), **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield segments, those of `Text` objects escaped too."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escaped(segment.text, keep=LINES), segment.style)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        discard_output(cast(TextIO, self.file))


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[str] = ()) -> list[str]:
    """Return lines of columns under their headings; None is shown as a dash. Lines are never cut."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(header))]
    return [
        GAP.join(
            text.rjust(width) if name in right else text.ljust(width)
            for text, width, name in zip(line, widths, header, strict=True)
        ).rstrip()
        for line in cells
    ]


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return formats.moment(value)
    return escaped(value)


@contextmanager
def bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a bar, which is shown where standard error is a terminal."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=SafeConsole(sys.stderr), transient=True, disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task(label, total=total)
        yield lambda done: shown.advance(task, done)


@contextmanager
def percent_bar(label: str) -> Iterator[Callable[[float, str], None]]:
    """Yield a function that sets a bar to a fraction from 0 to 1; its text is what is being done."""
    with bar(label, 100) as advance:
        shown = 0

        def on_progress(fraction: float, _what: str) -> None:
            nonlocal shown
            advance(int(fraction * 100) - shown)
            shown = int(fraction * 100)

        yield on_progress


def tracked(items: Collection[T], label: str) -> Iterator[T]:
    """Yield the items, with a bar that shows how many are done."""
    with bar(label, len(items)) as advance:
        for item in items:
            yield item
            advance(1)


def rounds(interval_sec: float | None) -> Iterator[int]:
    """Yield 0, 1, 2, … every `interval_sec`, counted from the start so that no round drifts; None: once."""
    started_at = time.monotonic()
    number = 0
    while True:
        yield number
        if interval_sec is None:
            return
        number = max(number + 1, int((time.monotonic() - started_at) / interval_sec))
        time.sleep(max(0.0, started_at + number * interval_sec - time.monotonic()))
