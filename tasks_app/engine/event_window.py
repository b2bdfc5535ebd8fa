"""Which events a reader may hand out without ever skipping one.

Sequence numbers are drawn before commit, so a higher event can become visible first. Before its first event a
transaction takes a shared advisory lock whose key carries the sequence's last value: all its events lie above it. A
reader that stays at or below the lowest such lock, and reads in a later snapshot, never passes an uncommitted event.
"""

from __future__ import annotations

from django.db import connection

NAMESPACE = 0x4142
"""Upper 16 bits of the advisory key that `absurd_record` takes; the lower 48 hold the sequence value."""

_SEQUENCE = "pg_get_serial_sequence('tasks_app_taskevent', 'id')::regclass"
_LAST_VALUE = f"coalesce(pg_sequence_last_value({_SEQUENCE}), 0)"

_LOWEST_LOCK = f"""
    SELECT min(((classid::bigint & 65535) << 32) | objid::bigint)
    FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND (classid::bigint >> 16) = {NAMESPACE}
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""  # noqa: S608


_ARCHIVED = "SELECT coalesce(max(last_event_id), 0) FROM tasks_app_archivedtask"


def readable_limit() -> tuple[int, int]:
    """Return (limit, last value): events up to `limit` are complete once read in a statement after this call.

    While the two differ, events between them are being withheld for a transaction that is still open.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_LAST_VALUE}")
        last_value: int = cursor.fetchone()[0]
        cursor.execute(_LOWEST_LOCK)
        lowest: int | None = cursor.fetchone()[0]
    return (last_value if lowest is None else min(last_value, lowest)), last_value


def archived_limit() -> int:
    """Return the number up to which events may be in the archive, where the feed does not replay them from."""
    with connection.cursor() as cursor:
        cursor.execute(_ARCHIVED)
        return int(cursor.fetchone()[0])
