"""Faults of the database, raised by PostgreSQL itself at each point where a process sends it a statement.

A point is a function of ours and the statement that it sends. The statement is replaced by one that makes the server
raise the error, within the same transaction; or the session is terminated before it; or, at a commit, after it, so that
the answer alone is lost. Each point meets each fault once, in the order in which the points are reached.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

OURS = ("tasks_app", "workers", "pipeline_app", "absurd_project")
TERMINATED, ANSWER_LOST = "terminated", "answer lost"
CLASSES = (
    "08006", "22021", "23505", "25006", "25P03", "28P01", "40001", "40P01", "42501", "42703", "42P01", "53100", "53200",
    "53300", "54000", "55P03", "57014", "57P01", "57P03", "58030", "P0001", "XX000", TERMINATED,
)  # fmt: skip
"""One of each class that a server can send, more where the members of a class differ."""
COMMIT = "COMMIT"
FAULTS_OF_VALUES = frozenset({"22021", "23505", "42703", "42P01", "54000", "P0001", "XX000"})
CALM = 40
"""This many statements pass before one is refused for what it says; a worker gives such a statement few tries."""
OUTAGE_CALM = 5
REACHED_OFTEN = 5
"""What is sent less often, such as at the start of a process, meets the faults that its turns allow."""

_cursor_execute = psycopg.Cursor.execute
_commit = psycopg.Connection.commit


class Injector:
    """Decides for each statement whether it fails, and keeps account."""

    def __init__(
        self,
        *,
        classes: tuple[str, ...] = CLASSES,
        applies: Callable[[], bool] = lambda: True,
        calm: int = CALM,
        account: Path | None = None,
    ) -> None:
        self._classes = classes
        self._applies = applies
        self._calm = calm
        self._outage_calm = min(calm, OUTAGE_CALM)
        self._account = account
        self._lock = threading.RLock()
        self._own = threading.local()
        self._since_last = 0
        self.left: dict[str, list[str]] = {}
        """The faults that each point has yet to meet."""
        self.injected: list[tuple[str, str]] = []
        self._reached: Counter[str] = Counter()

    def install(self) -> None:
        """Have every statement of this process pass through here."""
        injector = self

        def execute(cursor: Any, query: Any, *arguments: Any, **named: Any) -> Any:
            fault = injector.fault_for(str(query))
            if fault is not None:
                injector.inject(cursor, fault)
            return _cursor_execute(cursor, query, *arguments, **named)

        def commit(connection: Any) -> None:
            fault = injector.fault_for(COMMIT)
            if fault == ANSWER_LOST:
                _commit(connection)
            if fault is not None:
                connection.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            _commit(connection)

        psycopg.Cursor.execute = execute  # type: ignore[method-assign,assignment]
        psycopg.Connection.commit = commit  # type: ignore[method-assign]

    @staticmethod
    def remove() -> None:
        """Let statements pass as ever."""
        psycopg.Cursor.execute = _cursor_execute  # type: ignore[method-assign]
        psycopg.Connection.commit = _commit  # type: ignore[method-assign]

    def fault_for(self, statement: str) -> str | None:
        """Return the fault that the statement is to meet now, if any."""
        # The pool tries a connection with the empty statement right after a fault, where no other is injected yet.
        if not statement or getattr(self._own, "busy", False) or not self._applies():
            return None
        site = _site()
        if site is None:
            return None
        point = f"{site}: {normal(statement)}"
        with self._lock:
            faults = (TERMINATED, ANSWER_LOST) if statement == COMMIT else self._classes
            left = self.left.setdefault(point, list(faults))
            self._reached[point] += 1
            self._since_last += 1
            if not left or self._since_last <= (self._calm if left[0] in FAULTS_OF_VALUES else self._outage_calm):
                return None
            self._since_last = 0
            fault = left.pop(0)
            self.injected.append((point, fault))
            self._write()
        return fault

    def inject(self, cursor: Any, fault: str) -> None:
        """Have the server raise the error in the statement's place."""
        self._own.busy = True
        try:
            if fault == TERMINATED:
                _cursor_execute(cursor, "SELECT pg_terminate_backend(pg_backend_pid())")
            _cursor_execute(cursor, f"DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{fault}'; END $$")
        finally:
            self._own.busy = False

    @property
    def outstanding(self) -> int:
        """How many faults have yet to come at the points that are reached again and again."""
        return sum(len(left) for point, left in self.left.items() if self._reached[point] >= REACHED_OFTEN)

    def _write(self) -> None:
        if self._account is not None:
            output = {"outstanding": self.outstanding, "injected": len(self.injected), "points": sorted(self.left)}
            fresh = self._account.with_suffix(".new")
            fresh.write_text(json.dumps(output))
            fresh.replace(self._account)


def normal(statement: str) -> str:
    """Return a statement without what differs each time it is sent."""
    text = re.sub(r"\s+", " ", statement.removeprefix("b'")).strip()
    text = re.sub(r"s\d+_x\d+", "savepoint", text)
    text = re.sub(r"(%s(::\w+)?, )+%s", "%s…", text)
    return re.sub(r"\d+", "N", text)[:160]


def _site() -> str | None:
    """Return the function of ours that sends the statement, below which there is only the database's back end."""
    frame = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.split(".")[0] in OURS and not module.startswith(
            ("tasks_app.postgresql", "tasks_app.postgresql.statements")
        ):
            return f"{module}.{frame.f_code.co_qualname}"
        frame = frame.f_back  # type: ignore[assignment]
    return None
