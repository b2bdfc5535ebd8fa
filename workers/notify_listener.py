"""Hear from PostgreSQL that there is work, on a connection of its own. Without it the worker polls."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection

import psycopg
from django.db import connection

from tasks_app.engine.notify import WORK_CHANNEL

logger = logging.getLogger(__name__)


class Listener:
    """A LISTEN connection that may be lost and is made anew."""

    def __init__(self, queue_names: Collection[str]) -> None:
        self._queue_names = frozenset(queue_names)
        self._connection: psycopg.Connection | None = None

    @property
    def fd(self) -> int | None:
        """The descriptor that becomes readable when something was notified; None while there is no connection."""
        return None if self._connection is None else self._connection.fileno()

    def connect(self) -> bool:
        """Begin to listen, unless that is so already; return whether it has just begun. Raises nothing."""
        if self._connection is not None:
            return False
        params = connection.get_connection_params()
        wanted = {name: params[name] for name in params if name not in ("cursor_factory", "context")}
        try:
            fresh = psycopg.connect(**{**wanted, "autocommit": True, "application_name": "absurd listener"})
            fresh.execute(f"LISTEN {WORK_CHANNEL}")
        except psycopg.Error as error:
            logger.warning("not listening for work, polling only: %s", str(error).split("\n", 1)[0])
            return False
        self._connection = fresh
        return True

    def hear(self) -> bool:
        """Take in what was notified; return whether it is about this worker's queues. A lost connection counts too."""
        if self._connection is None:
            return False
        try:
            heard = [notice.payload for notice in self._connection.notifies(timeout=0)]
        except psycopg.Error:
            self.close()
            return True
        return not self._queue_names.isdisjoint(heard)

    def close(self) -> None:
        """Stop listening."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None
