"""What an error of the database means: an outage, which costs nobody anything, or a fault of what was sent.

One classification for workers, sweeps, feed, ingest, commands and web. An outage is every state in which the same
statement can succeed later: no connection, a server that starts or stops, a database that refuses writes (a failover, a
full disk), no free connection or memory, a limit on waiting, a lost race between transactions.
"""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import Error, InterfaceError, OperationalError

from tasks_app.formats import without_passwords

READ_ONLY = "25006"
NOT_PERMITTED = "42501"
"""A role that lost a privilege is a fault of the database's configuration, not of what was sent."""
_CONNECTION_CLASSES = frozenset({"08", "28", "3D"})
_OUTAGE_CLASSES = _CONNECTION_CLASSES | {"40", "53", "55", "57", "58"}
_ENDED_BY_SERVER = frozenset({"25P03", "25P04", "57P01", "57P02", "57P03", "57P04", "57P05"})
_OUTAGE_CODES = _ENDED_BY_SERVER | {READ_ONLY, NOT_PERMITTED}
_WITHOUT_CODE = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
_REFUSES_WRITES = frozenset({READ_ONLY, NOT_PERMITTED, "53100"})


def sqlstate(error: BaseException | None) -> str:
    """Return PostgreSQL's code of an error or of what caused it; empty where the server sent none."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        code: Any = getattr(error, "sqlstate", None)
        if isinstance(code, str):
            return code
        error = error.__cause__
    return ""


def is_outage(error: BaseException) -> bool:
    """Return whether the error says that the database cannot do the work now, whatever the work is."""
    if not isinstance(error, Error | psycopg.Error):
        return False
    code = sqlstate(error)
    if not code:
        return isinstance(error, _WITHOUT_CODE)
    return code[:2] in _OUTAGE_CLASSES or code in _OUTAGE_CODES


def is_disconnect(error: BaseException) -> bool:
    """Return whether an outage means that the connection is gone, or was never there."""
    code = sqlstate(error)
    return is_outage(error) and (not code or code[:2] in _CONNECTION_CLASSES or code in _ENDED_BY_SERVER)


def refuses_writes(error: BaseException) -> bool:
    """Return whether the database answers and takes no writes: read-only, full, or without the privilege."""
    return sqlstate(error) in _REFUSES_WRITES


def describe(error: BaseException) -> str:
    """Return one line on the outage, with PostgreSQL's code where there is one."""
    code = sqlstate(error)
    text = without_passwords(str(error)).strip().split("\n", 1)[0] or type(error).__name__
    what = "refuses writes" if refuses_writes(error) else "does not answer" if is_disconnect(error) else "refuses work"
    return f"the database {what}: {text}{f' (SQLSTATE {code})' if code else ''}"
