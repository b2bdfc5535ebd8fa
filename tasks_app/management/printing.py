"""Tables and progress for people: tables on standard output, progress on standard error and only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tasks_app import wording

T = TypeVar("T")
GAP = "  "


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[str] = ()) -> list[str]:
    """Return lines of columns under their headings; what is None is shown as a dash. Lines are never cut."""
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
        return wording.moment(value)
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(value))


@contextmanager
def bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told of every step done, and shows it where standard error is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task(label, total=total)
        yield lambda done: shown.advance(task, done)


def tracked(items: Collection[T], label: str) -> Iterator[T]:
    """Yield the items, with a bar that shows how many are done."""
    with bar(label, len(items)) as tell:
        for item in items:
            yield item
            tell(1)
