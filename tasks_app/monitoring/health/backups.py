"""How old the newest backup is."""

from __future__ import annotations

from datetime import datetime

from tasks_app import formats
from tasks_app.models import LastBackup, Schedule
from tasks_app.monitoring.health.checks import Check, ok, threshold
from tasks_app.monitoring.health.faults import acknowledged_at, add, report
from tasks_app.postgresql import clock

NAME = "backups"


def check(_queue: str) -> Check:
    """Check that the newest backup is recent, where one was ever made or is scheduled."""
    last = LastBackup.objects.first()
    since = _scheduled_since() if last is None else last.made_at
    if since is None:
        return ok("No backups are made (manage.py absurd_backup)")
    moment, limit_sec = clock.now(), threshold("backup_warn_sec")
    age_sec = (moment - since).total_seconds()
    found = "There is no backup yet"
    if last is not None:
        found = f"The newest backup is {formats.duration(age_sec)} old: {last.path} on {last.host}"
    is_late = (moment - max(since, acknowledged_at(NAME))).total_seconds() > limit_sec
    return report(
        NAME,
        [found] if is_late else [],
        no_fault=found,
        remedy=f"read the error of the last task {LastBackup.TASK_NAME}, or run manage.py absurd_backup",
        value=round(age_sec),
        threshold=limit_sec,
    )


def _scheduled_since() -> datetime | None:
    schedules = Schedule.objects.filter(task_name=LastBackup.TASK_NAME, enabled=True)
    return schedules.order_by("created_at").values_list("created_at", flat=True).first()


def age_sec() -> float | None:
    """Return the age of the newest backup, or None where none was made."""
    last = LastBackup.objects.first()
    return None if last is None else (clock.now() - last.made_at).total_seconds()


add(NAME, check)
