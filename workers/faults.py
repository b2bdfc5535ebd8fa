"""The faults of pilots: those that end before they have done anything."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from tasks_app import formats
from tasks_app.monitoring.health import faults
from tasks_app.monitoring.health.checks import Check
from tasks_app.postgresql import clock
from workers.models import Pilot, PilotOutcome

NAME = "pilots"
ENDS_READ = 50


def pilots(queue: str) -> Check:
    """Check for groups of pilots whose last jobs were refused or ended before their worker reported."""
    return faults.report(
        NAME,
        _failing(queue),
        no_fault="The last jobs of pilots had a worker that reported",
        remedy="read the log that is named; absurd_pilots tries again, less and less often",
    )


def _failing(queue: str) -> Iterator[str]:
    since = faults.acknowledged_at(NAME)
    ended = Pilot.objects.filter(queues__contains=[queue], ended_at__gt=since)
    for group in sorted(set(ended.order_by().values_list("group", flat=True))):
        ends = list(ended.filter(group=group).order_by("-ended_at", "-id")[:ENDS_READ])
        failed = list(takewhile(lambda pilot: pilot.outcome == PilotOutcome.FAILED, ends))
        if failed:
            last = failed[0]
            at = clock.stamp(last.ended_at.replace(microsecond=0)) if last.ended_at else ""
            times = formats.count(len(failed), "job")
            yield f"{times} of the pilots {group} in a row failed at once, the last at {at}: {last.message[:300]}"


faults.add(NAME, pilots)
