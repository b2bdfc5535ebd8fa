"""Whether the queue works and, if not, what is wrong and what to do."""

from __future__ import annotations

from tasks_app.monitoring.health.checks import Check, Health, State, Status, Subject, threshold
from tasks_app.monitoring.health.examine import check, examine, forget, stop

__all__ = ["Check", "Health", "State", "Status", "Subject", "check", "examine", "forget", "stop", "threshold"]
