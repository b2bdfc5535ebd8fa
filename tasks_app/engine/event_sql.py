"""What the statements that write events in bulk have in common."""

from __future__ import annotations

from tasks_app.engine import event_window

ENTERED = f"entered AS MATERIALIZED ({event_window.ENTER})"
"""A CTE that every row which draws an event number is joined to, so that it is done before; see event_window."""


def stamp(column: str) -> str:
    """Return SQL that writes a moment as the API does."""
    return f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
