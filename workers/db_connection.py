"""The worker's connections to the database, which may be away for minutes without costing a single attempt."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection

from tasks_app.engine.notify import WORK_CHANNEL
from tasks_app.postgresql import outages

FIRST_DELAY_SEC = 0.2
LONGEST_DELAY_SEC = 5.0
CONNECT_LIMIT_SEC = 3
SETTLED_SEC = 10.0
"""An outage that returns sooner is the same one: a database that is read-only answers what only reads."""
STATEMENT_LIMIT_MS = 30_000
LOCK_LIMIT_MS = 5_000

logger = logging.getLogger(__name__)


class Link:
    """Knows whether the database answers, and when to try it again."""

    def __init__(self, purpose: str) -> None:
        self._purpose = purpose
        self.up = True
        self._down_since: float | None = None
        """When an outage that has not been reported as ended began."""
        self._found_at = 0.0
        self.longest_delay_sec = LONGEST_DELAY_SEC
        self._delay_sec = FIRST_DELAY_SEC
        self._retry_at = 0.0

    @property
    def worth_trying(self) -> bool:
        """Whether the database answers, or it is time to see if it does again."""
        return self.up or time.monotonic() >= self._retry_at

    @property
    def wait_sec(self) -> float:
        """Seconds until it is worth trying."""
        return 0.0 if self.up else max(0.0, self._retry_at - time.monotonic())

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Run database work; an outage ends it silently, is noted, and its repetition is the caller's business."""
        try:
            yield
        except Exception as error:
            if not outages.is_outage(error):
                raise
            self._lost(error)
        else:
            self._found()

    def _lost(self, error: Exception) -> None:
        connection.close()
        self._report_settled()
        now = time.monotonic()
        self.up = False
        if self._down_since is None:
            self._down_since = now
            self._delay_sec = FIRST_DELAY_SEC
            logger.warning(
                "database connection of %s lost, attempts continue and outcomes are kept: %s",
                self._purpose,
                outages.describe(error),
            )
        self._retry_at = now + self._delay_sec * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
        self._delay_sec = min(self.longest_delay_sec, 2 * self._delay_sec)

    def _found(self) -> None:
        if not self.up:
            self.up = True
            self._found_at = time.monotonic()
        self._report_settled()

    def _report_settled(self) -> None:
        """Report the end of an outage once the database has answered for a while."""
        if self.up and self._down_since is not None and time.monotonic() - self._found_at >= SETTLED_SEC:
            away_sec = self._found_at - self._down_since
            self._down_since = None
            logger.warning("database connection of %s restored after %.1f s", self._purpose, away_sec)


def use_single_connection() -> None:
    """Give each thread of this process one connection that fails fast, in place of a pool that waits half a minute.

    No thread may hang in the database: connecting, statements, waiting for locks and a dead network have limits.
    """
    options = connection.settings_dict["OPTIONS"]
    options.pop("pool", None)
    options.setdefault("connect_timeout", CONNECT_LIMIT_SEC)
    options.setdefault("tcp_user_timeout", 10_000)
    options.setdefault("limits", {}).update(statement_timeout=STATEMENT_LIMIT_MS, lock_timeout=LOCK_LIMIT_MS)
    connection.settings_dict["CONN_MAX_AGE"] = None


class Listener:
    """A LISTEN connection, by which PostgreSQL announces work; it may be lost. Without it the worker polls."""

    def __init__(self, queue_names: Collection[str]) -> None:
        self._queue_names = frozenset(queue_names)
        self._connection: psycopg.Connection | None = None

    @property
    def fd(self) -> int | None:
        """The descriptor that becomes readable when something was notified; None while there is no connection."""
        return None if self._connection is None else self._connection.fileno()

    def connect(self) -> bool:
        """Listen, unless it does already; return whether it has just started to. Raises nothing."""
        if self._connection is not None:
            return False
        params = connection.get_connection_params()
        wanted = {name: params[name] for name in params if name not in ("cursor_factory", "context")}
        try:
            fresh = psycopg.connect(**{**wanted, "autocommit": True, "application_name": "absurd listener"})
            fresh.execute(f"LISTEN {WORK_CHANNEL}")
        except psycopg.Error as error:
            logger.warning("no notifications of new tasks, polling only: %s", str(error).split("\n", 1)[0])
            return False
        self._connection = fresh
        return True

    def has_work(self) -> bool:
        """Return whether this worker's queues were notified since the last call. A lost connection counts too."""
        if self._connection is None:
            return False
        try:
            notified = [notice.payload for notice in self._connection.notifies(timeout=0)]
        except psycopg.Error:
            self.close()
            return True
        return not self._queue_names.isdisjoint(notified)

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None
