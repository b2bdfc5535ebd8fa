"""Does the queue work, and if not, what is wrong and what is to be done?"""

from __future__ import annotations

from tasks_app.monitoring.health.checks import Check, Health, State, Status, limit
from tasks_app.monitoring.health.examine import check, examine, forget

__all__ = ["Check", "Health", "State", "Status", "check", "examine", "forget", "limit"]
