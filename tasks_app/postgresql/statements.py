"""The queue's hot statements, run as prepared statements of the server.

Django interpolates parameters in the client, which makes the server parse and plan each statement anew. What is run
hundreds of times a second goes round that, on Django's own connection and so in its transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import psycopg
from django.conf import settings
from django.db import connection

from tasks_app.postgresql.base import DatabaseWrapper


def run(sql: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Execute the statement and return its rows; jsonb columns come as text, as Django has them."""
    wrapper = cast(DatabaseWrapper, connection)
    wrapper.ensure_connection()
    # Anything but None lets statements be prepared; what Django itself sends never is.
    wrapper.connection.prepare_threshold = 1_000_000
    with wrapper.within_limits(), wrapper.wrap_database_errors, psycopg.Cursor(wrapper.connection) as cursor:
        # A pooler that gives each transaction another connection knows no prepared statements of ours.
        cursor.execute(sql, params, prepare=not settings.ABSURD_POLL_ONLY)
        return cursor.fetchall() if cursor.description else []
