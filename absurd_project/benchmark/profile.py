"""Where the time of database work goes: every statement of Django's connection, and every commit."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

SHOWN_CHARS = 90


class Statements:
    """Times by statement."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = defaultdict(list)

    def wrap(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Time one statement, as Django's `execute_wrapper` wants it."""
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.add(sql, time.perf_counter() - began)

    def add(self, sql: str, seconds: float) -> None:
        """Add one execution."""
        self._times[brief(sql)].append(seconds)

    def statements(self) -> list[dict[str, Any]]:
        """Return what each statement took, the costliest first."""
        rows = [{"sql": sql, "calls": len(times), "seconds": sum(times)} for sql, times in self._times.items()]
        return sorted(rows, key=lambda row: -float(row["seconds"]))


def brief(sql: str) -> str:
    """Return a statement on one line, short enough for a table; a list of values of any length reads the same."""
    line = re.sub(r"\s+", " ", sql).strip()
    line = re.sub(r"\((%s(::\w+)?(, )?)+\)(, \((%s(::\w+)?(, )?)+\))*", "(…)", line)
    return line if len(line) <= SHOWN_CHARS else f"{line[: SHOWN_CHARS - 1]}…"


@contextmanager
def listening() -> Iterator[Statements]:
    """Time all statements and commits of this thread's connection."""
    found = Statements()
    wrapper: Any = connection
    commit = wrapper._commit

    def timed_commit() -> Any:
        began = time.perf_counter()
        try:
            return commit()
        finally:
            found.add("COMMIT", time.perf_counter() - began)

    wrapper._commit = timed_commit
    try:
        with connection.execute_wrapper(found.wrap):
            yield found
    finally:
        del wrapper._commit
