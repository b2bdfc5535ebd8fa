"""Is the queue well, and if not, what is to be done?"""

from __future__ import annotations

from tasks_app.health.checking import Check, Health, State, Status
from tasks_app.health.examination import check, database_answers, examine, unavailable

__all__ = ["Check", "Health", "State", "Status", "check", "database_answers", "examine", "unavailable"]
