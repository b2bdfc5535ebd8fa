"""The database's clock, the only one that the queue trusts.

`absurd_now()` is a function in the database: the time at which the statement began, or the moment that a test has set
for its own session.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connection
from django.db.models import DateTimeField, Func


class DatabaseNow(Func):
    """The queue's present moment inside a query."""

    template = "absurd_now()"
    output_field = DateTimeField()


def now() -> datetime:
    """Return the database's time, in UTC."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT absurd_now()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def stamp(moment: datetime) -> str:
    """Write a moment as the API and the feed do: ISO 8601 in UTC with a Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
