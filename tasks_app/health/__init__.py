"""Is the queue well, and if not, what is to be done?"""

from __future__ import annotations

from tasks_app.figures.freshness import Fresh
from tasks_app.health.checking import Check, Health, State, Status, limit
from tasks_app.health.examination import check, database_answers, examine, unavailable

__all__ = [
    "Check",
    "Health",
    "State",
    "Status",
    "check",
    "database_answers",
    "examine",
    "light",
    "limit",
    "unavailable",
]

light: Fresh[Health] = Fresh(check, keep_sec=2.0)
"""The default queue's health for the header of every page, up to two seconds old."""
