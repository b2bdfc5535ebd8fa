"""Questions that no index answers, and deeds on many tasks, end in time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction
from psycopg.errors import QueryCanceled

from tasks_app.errors import TooSlow

LIMIT_SEC = 10.0
DEED_SEC = 25.0
"""What a deed on many tasks has not reached by then is left, so that the answer comes before a proxy gives up."""


@contextmanager
def bounded(limit_sec: float | None = None) -> Iterator[None]:
    """Have the database give up each statement of the block after so long. Raises TooSlow."""
    limit_sec = LIMIT_SEC if limit_sec is None else limit_sec
    nested = connection.in_atomic_block
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{round(limit_sec * 1000)}ms"])
            yield
            if nested:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('statement_timeout', '0', true)")
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TooSlow(limit_sec) from None
        raise
