"""The state of the database: dead rows, old transactions, withheld events, connections, size."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from tasks_app.engine import events

HOT_TABLES = (
    "tasks_app_task",
    "tasks_app_attempt",
    "tasks_app_taskevent",
    "tasks_app_countdelta",
    "tasks_app_queuecount",
    "tasks_app_limitslot",
    "tasks_app_worker",
)
"""The tables that every task writes to."""


@dataclass(frozen=True, kw_only=True)
class TableState:
    """Rows of a table, dead ones that wait for vacuum, and when it last came."""

    name: str
    live_rows: int
    dead_rows: int
    vacuumed_at: datetime | None

    @property
    def dead_ratio(self) -> float | None:
        """The share of the dead among all rows; None for an empty table."""
        rows = self.live_rows + self.dead_rows
        return self.dead_rows / rows if rows else None


_TABLES = """
SELECT relname, n_live_tup, n_dead_tup, greatest(last_autovacuum, last_vacuum)
FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname = ANY(%s) ORDER BY relname
"""


def hot_tables() -> list[TableState]:
    """Return the state of the tables that every task writes to."""
    return [
        TableState(name=name, live_rows=live, dead_rows=dead, vacuumed_at=at)
        for name, live, dead, at in _rows(_TABLES, [list(HOT_TABLES)])
    ]


def autovacuum_is_on() -> bool:
    """Return whether the server vacuums by itself."""
    return bool(
        _rows("SELECT current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean")[0][0]
    )


@dataclass(frozen=True, kw_only=True)
class XminHolder:
    """What keeps vacuum from removing dead rows: an open transaction, a prepared one, or a replication slot."""

    kind: str
    who: str
    age_sec: float | None
    """None where the server does not record the start."""
    xids: int
    """How many transactions have started since."""
    ends: str
    """The statement that ends it."""


# Only what holds back this database's tables: its own transactions, and the replicas and slots that count for all.
_HOLDERS = """
SELECT CASE WHEN state LIKE 'idle in transaction%%' THEN 'session idle in a transaction' ELSE 'open transaction' END,
    concat_ws(', ', 'pid ' || pid, nullif(application_name, ''), nullif(usename, ''), nullif(client_addr::text, ''),
        nullif(left(regexp_replace(query, '\\s+', ' ', 'g'), 80), '')),
    extract(epoch FROM clock_timestamp() - xact_start)::float8, coalesce(age(backend_xmin), age(backend_xid)),
    format('SELECT pg_terminate_backend(%%s)', pid)
FROM pg_stat_activity
WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND pid <> pg_backend_pid()
    AND (datname = current_database() OR datname IS NULL) AND backend_type IN ('client backend', 'walsender')
UNION ALL
SELECT 'prepared transaction', concat_ws(', ', gid, owner), extract(epoch FROM clock_timestamp() - prepared)::float8,
    age(transaction), format('ROLLBACK PREPARED %%L', gid)
FROM pg_prepared_xacts WHERE database = current_database()
UNION ALL
SELECT 'replication slot', concat_ws(', ', slot_name, CASE WHEN active THEN 'in use' ELSE 'unused' END), NULL,
    age(xmin), format('SELECT pg_drop_replication_slot(%%L)', slot_name)
FROM pg_replication_slots WHERE xmin IS NOT NULL
"""


def xmin_holders() -> list[XminHolder]:
    """Return all that holds back vacuum, what has done so for longest first."""
    holders = [
        XminHolder(kind=kind, who=who, age_sec=age_sec, xids=xids, ends=ends)
        for kind, who, age_sec, xids, ends in _rows(_HOLDERS, [])
    ]
    return sorted(holders, key=lambda holder: (-holder.xids, -(holder.age_sec or 0.0)))


@dataclass(frozen=True, kw_only=True)
class FeedState:
    """How far the feed may read, and what keeps it from reading all."""

    readable: int
    last: int
    withheld_sec: float
    """For how long the oldest transaction has been open that events wait for."""
    who: str


_WITHHOLDING = f"""
SELECT coalesce(extract(epoch FROM clock_timestamp() - activity.xact_start), 0)::float8,
    concat_ws(', ', 'pid ' || activity.pid, nullif(application_name, ''))
FROM pg_locks JOIN pg_stat_activity AS activity ON activity.pid = pg_locks.pid
WHERE locktype = 'advisory' AND objsubid = 1 AND (classid::bigint >> 16) = {events.NAMESPACE}
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND pg_locks.pid <> pg_backend_pid()
ORDER BY activity.xact_start LIMIT 1
"""  # noqa: S608 - a constant


def feed_state() -> FeedState:
    """Return how far events may be read, and which session withholds the others."""
    readable, last = events.readable_limit()
    waiting = _rows(_WITHHOLDING) if readable < last else []
    withheld_sec, who = waiting[0] if waiting else (0.0, "")
    return FeedState(readable=readable, last=last, withheld_sec=withheld_sec, who=who)


def event_age_sec(position: int) -> float | None:
    """Return the age of the first event after a position, None when there is none."""
    rows = _rows(
        "SELECT extract(epoch FROM absurd_now() - created_at)::float8 FROM tasks_app_taskevent"
        " WHERE id > %s ORDER BY id LIMIT 1",
        [position],
    )
    return rows[0][0] if rows else None


def size_bytes() -> int:
    """Return the size of the database on the disk."""
    return int(_rows("SELECT pg_database_size(current_database())")[0][0])


def connections() -> tuple[int, int]:
    """Return how many clients are connected to the server, and how many it accepts."""
    sql = """
        SELECT count(*) FILTER (WHERE backend_type = 'client backend'),
            current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        FROM pg_stat_activity
    """
    used, most = _rows(sql)[0]
    return used, most


def _rows(sql: str, params: list[Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
