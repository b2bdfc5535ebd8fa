"""Where the time of database work goes: every statement and every commit of this process, as psycopg sends them."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

SHOWN_CHARS = 90


class Statements:
    """Times by statement."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = defaultdict(list)

    def timed(self, name_of: Callable[..., str], method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method as one that is timed under the name that `name_of` gives each call."""

        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                self._times[name_of(*args)].append(time.perf_counter() - began)

        return call

    def rows(self) -> list[dict[str, Any]]:
        """Return what each statement took, the costliest first."""
        found = [{"sql": sql, "calls": len(times), "seconds": sum(times)} for sql, times in self._times.items()]
        return sorted(found, key=lambda row: -float(row["seconds"]))


def brief(sql: object) -> str:
    """Return a statement on one line, short enough for a table.

    Lists of values of any length read the same; a first clause that all of ours have in common is left out.
    """
    line = re.sub(r"\s+", " ", str(sql)).strip()
    line = re.sub(r"^WITH entered AS .*?\), (?=\w+ AS )", "WITH …, ", line)
    line = re.sub(r"\(%s(, %s)+\)(, \(%s(, %s)+\))*", "(…)", line)
    return line if len(line) <= SHOWN_CHARS else f"{line[: SHOWN_CHARS - 1]}…"


@contextmanager
def listening() -> Iterator[Statements]:
    """Time all statements and commits while the block lasts."""
    found = Statements()
    cursor: Any = psycopg.Cursor
    database: Any = psycopg.Connection
    execute, commit = cursor.execute, database.commit
    cursor.execute = found.timed(lambda _cursor, sql, *_: brief(sql), execute)
    database.commit = found.timed(lambda *_: "COMMIT", commit)
    try:
        yield found
    finally:
        cursor.execute, database.commit = execute, commit
