"""The back end that `DATABASES` names, and its pool of connections: the first dead connection empties it.

Limits of the server (`idle_in_transaction_session_timeout`, `statement_timeout`, `lock_timeout`; in ms) are given in
OPTIONS["limits"]. They are set inside each transaction, in the message that opens it. PgBouncer in transaction mode
refuses them as start-up options, and would keep a setting of the session for the next client of the server connection.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import psycopg
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base, features
from django.db.backends.utils import debug_transaction
from psycopg.pq import TransactionStatus

from tasks_app.postgresql.statements import within_limits

WAIT_SEC = 5.0
"""How long a thread waits for a connection while others hold all of them."""
IDLE_MOST_SEC = 300.0
"""A connection that nobody has used for longer is closed, before a firewall or a server does it unnoticed."""


class PoolExhausted(psycopg.OperationalError):
    """All connections stayed in use for as long as a thread may wait."""


class Pool:
    """At most `max_size` connections, made by the thread that needs one and kept for the next.

    A connection is tried before it is handed out. A restart, a failover or an idle limit ends all of them at once, so
    one that is dead takes the unused ones with it, and the caller gets a fresh one at once. A server that cannot be
    reached fails every caller with its own error, without waiting: nothing is retried in the background.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], *, max_size: int) -> None:
        self._connect = connect
        self._max_size = max_size
        self._free = threading.BoundedSemaphore(max_size)
        self._lock = threading.Lock()
        self._idle: list[tuple[float, psycopg.Connection[Any]]] = []
        self._generation = 0
        self._failure: tuple[float, str] | None = None

    def open(self) -> None:
        """Do nothing: Django calls this before each `getconn`."""

    def getconn(self) -> psycopg.Connection[Any]:
        """Return a working connection. Raises PoolExhausted, and psycopg.OperationalError where no server answers."""
        asked_at = time.monotonic()
        if not self._free.acquire(timeout=WAIT_SEC):
            raise PoolExhausted(f"all {self._max_size} connections stayed in use for {WAIT_SEC:g} s")
        try:
            return self._take(asked_at)
        except BaseException:
            self._free.release()
            raise

    def putconn(self, connection: psycopg.Connection[Any]) -> None:
        """Take a connection back; one that is dead or older than the last dead one is closed."""
        try:
            if not _reset(connection):
                self.drop()
            elif connection.absurd_generation == self._generation:  # type: ignore[attr-defined]
                with self._lock:
                    self._idle.append((time.monotonic(), connection))
                return
            connection.close()
        finally:
            self._free.release()

    def drop(self) -> None:
        """Close all unused connections; those in use are closed when they come back."""
        with self._lock:
            unused, self._idle = self._idle, []
            self._generation += 1
        for _, connection in unused:
            connection.close()

    def close(self) -> None:
        """Close all connections."""
        self.drop()

    def _take(self, asked_at: float) -> psycopg.Connection[Any]:
        while (connection := self._pop()) is not None:
            if _is_alive(connection):
                return connection
            connection.close()
            self.drop()
        # A thread that waited while another found no server would find the same, only later.
        if self._failure is not None and self._failure[0] > asked_at:
            raise psycopg.OperationalError(self._failure[1])
        generation = self._generation
        try:
            connection = self._connect()
        except psycopg.Error as error:
            self._failure = (time.monotonic(), str(error))  # not the error: it holds the frames of its request
            raise
        connection.absurd_generation = generation  # type: ignore[attr-defined]
        connection._pool = self  # type: ignore[assignment]
        return connection

    def _pop(self) -> psycopg.Connection[Any] | None:
        """Return the connection used last, closing those that nobody has used for long."""
        oldest = time.monotonic() - IDLE_MOST_SEC
        with self._lock:
            expired = [connection for since, connection in self._idle if since < oldest]
            self._idle = [entry for entry in self._idle if entry[0] >= oldest]
            found = self._idle.pop()[1] if self._idle else None
        for connection in expired:
            connection.close()
        return found


def _is_alive(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.execute("")
    except psycopg.Error:
        return False
    return True


def _reset(connection: psycopg.Connection[Any]) -> bool:
    """End what its user left open; return whether the connection can be used again."""
    try:
        if connection.info.transaction_status != TransactionStatus.IDLE:
            connection.rollback()
        if not connection.autocommit:
            connection.autocommit = True
    except psycopg.Error:
        return False
    return not connection.closed


POOL, LIMITS = "pool", "limits"


class DatabaseFeatures(features.DatabaseFeatures):
    """What the server must have; Django checks the version at the first connection."""

    minimum_database_version = (15,)


class DatabaseWrapper(base.DatabaseWrapper):
    """One thread's connection."""

    features_class = DatabaseFeatures
    _connection_pools: ClassVar[dict[str, Pool]] = {}

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.limits: dict[str, int] = self.settings_dict["OPTIONS"].setdefault(LIMITS, {})
        """The limits of this process, in ms; a change holds from the next transaction on."""
        self.execute_wrappers.append(self._limited)

    @property
    def pool(self) -> Pool | None:
        """The pool of this process; None where OPTIONS["pool"] asks for none."""
        options = self.settings_dict["OPTIONS"].get(POOL)
        if self.alias == NO_DB_ALIAS or not options:
            return None
        return self._connection_pools.get(self.alias) or self._connection_pools.setdefault(
            self.alias, Pool(self._connect, **options)
        )

    def _connect(self) -> Any:
        connection = self.Database.connect(**{**self.get_connection_params(), "autocommit": True})
        try:
            self._configure_connection(connection)  # type: ignore[attr-defined]  # the time zone and role, as Django does
        except BaseException:
            connection.close()  # else the session would last as long as anybody holds the error
            raise
        return connection

    def get_connection_params(self) -> dict[str, Any]:
        """Return what libpq is given: without our limits."""
        found: dict[str, Any] = super().get_connection_params()
        found.pop(LIMITS, None)
        return found

    def _start_transaction_under_autocommit(self) -> None:
        """Begin a transaction and set its limits in one message to the server; Django's atomic() calls this."""
        limits = "".join(f"; SET LOCAL {name} = {int(value)}" for name, value in self.limits.items())
        with debug_transaction(self, "BEGIN"), self.wrap_database_errors:
            self.connection.execute(f"BEGIN{limits}")

    def _limited(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        with within_limits(self):
            return execute(sql, params, many, context)
