"""How long a running attempt still takes, from the rate of the progress that it has reported."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tasks_app import formats
from tasks_app.models import Task, TaskEvent, TaskStatus

REPORTS_READ = 50


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The time that is left, or why it cannot be known."""

    left_sec: float | None = None
    reason: str = ""


def estimate(task: Task, moment: datetime) -> Estimate | None:
    """Return what is left of a claimed task that reports progress; None for one that does neither.

    The rate is that of its last REPORTS_READ reports, so a slow start is forgotten in the end.
    """
    if task.status != TaskStatus.CLAIMED or task.progress is None:
        return None
    events = TaskEvent.objects.filter(task_id=task.task_id, event_type="progress", attempt=task.claim_epoch)
    rows = events.order_by("-id").values_list("created_at", "detail__update__progress")[:REPORTS_READ]
    reports = [(at, float(fraction)) for at, fraction in rows if fraction is not None]
    if len(reports) < 2:
        return Estimate(reason="two reports are needed")
    (last_at, last), (first_at, first) = reports[0], reports[-1]
    if last <= first or last_at <= first_at:
        return Estimate(reason=f"it has stood at {last:.0%} since {formats.moment(first_at)}")
    left_sec = (1 - last) * (last_at - first_at).total_seconds() / (last - first)
    silent_sec = (moment - last_at).total_seconds()
    if left_sec < silent_sec:
        return Estimate(reason=f"the last report, of {last:.0%}, is {formats.duration(silent_sec)} old")
    return Estimate(left_sec=left_sec - silent_sec)
