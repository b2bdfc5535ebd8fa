"""What statements cost: the pages that one claim touches, and the time of each statement of a call."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import transaction

MARK = "SKIP LOCKED"
"""What tells a claim's statement from others."""


class NoClaimSeen(Exception):
    """No statement of the claim was recognised."""


def of_one_claim(claim: Callable[[], object]) -> int:
    """Return the pages that one claim touches, found by explaining it; the claim is undone.

    Raises NoClaimSeen.
    """
    plans: list[dict[str, Any]] = []
    with transaction.atomic(), _explaining(plans):
        claim()
        transaction.set_rollback(True)
    if not plans:
        raise NoClaimSeen
    return sum(touched(plan) for plan in plans)


def touched(plan: dict[str, Any]) -> int:
    """Return the pages of a whole plan.

    A node's figure covers all below it, also clauses of WITH that it reads. Clauses that are not read, such as one that
    inserts events, run after the top node and are added.
    """
    read = {node["CTE Name"] for node in _nodes(plan) if "CTE Name" in node}
    unread = [
        node for node in _nodes(plan) if node.get("Subplan Name", "").removeprefix("CTE ") not in {"", *read}
        and node["Subplan Name"].startswith("CTE ")
    ]  # fmt: skip
    return sum(node["Shared Hit Blocks"] + node["Shared Read Blocks"] for node in [plan, *unread])


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


@contextmanager
def _explaining(plans: list[dict[str, Any]]) -> Iterator[None]:
    """Run each statement that claims a first time under EXPLAIN."""
    cursor: Any = psycopg.Cursor
    execute = cursor.execute

    def explained(self: Any, sql: Any, params: Any = None, **options: Any) -> Any:
        if isinstance(sql, str) and MARK in sql:
            execute(self, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
            plans.append(self.fetchone()[0][0]["Plan"])
        return execute(self, sql, params, **options)

    cursor.execute = explained
    try:
        yield
    finally:
        cursor.execute = execute


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
