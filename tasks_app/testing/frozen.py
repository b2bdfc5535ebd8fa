"""A database clock that stands still until the test moves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import connection
from psycopg.pq import TransactionStatus

from tasks_app.postgresql import clock


class FrozenClock:
    """The clock of the current database session, to be moved by hand.

    It is a setting of the session: a move inside a block that is rolled back is rolled back with it, and other
    connections keep their own time.
    """

    @property
    def now(self) -> datetime:
        """The moment at which it stands."""
        return clock.now()

    def tick(self, seconds: float) -> datetime:
        """Move on by `seconds` and return the new moment."""
        return self.move_to(self.now + timedelta(seconds=seconds))

    def move_to(self, moment: datetime) -> datetime:
        """Stand at the moment and return it. Raises ValueError when it has no time zone."""
        if moment.tzinfo is None:
            raise ValueError(f"write {moment} with a time zone: the queue's clock has one")
        _set(moment.isoformat())
        return self.now


@contextmanager
def frozen_clock(moment: datetime | None = None) -> Iterator[FrozenClock]:
    """Stop the database clock of this session at the moment, or where it is, until the block ends."""
    frozen = FrozenClock()
    before = _setting()
    frozen.move_to(moment or frozen.now)
    try:
        yield frozen
    finally:
        if not _doomed():
            _set(before)


def _doomed() -> bool:
    """Whether the transaction around can only be rolled back, which restores the clock as well."""
    raw = connection.connection
    return connection.needs_rollback or (raw and raw.info.transaction_status == TransactionStatus.INERROR)


def _setting() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(current_setting('absurd.now', true), '')")
        value: str = cursor.fetchone()[0]
    return value


def _set(value: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('absurd.now', %s, false)", [value])
