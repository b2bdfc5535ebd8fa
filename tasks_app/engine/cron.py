"""When schedules are due. The arithmetic of cron expressions is the library's, in the schedule's own time zone."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from tasks_app.errors import ParamsInvalid
from tasks_app.models import Schedule

FIELDS = 5
CRON_CHARS = 100
_ANY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
MISSED_AFTER_SEC = 60.0
"""A moment that is past by more than this was missed, as when nothing ran, and falls under the catch-up policy."""


def check_times(cron: str, time_zone: str) -> None:
    """Raise ParamsInvalid unless both can be used."""
    problems = []
    try:
        zone = ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        near = difflib.get_close_matches(time_zone, available_timezones(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "write UTC or Area/City"
        problems.append({"path": "time_zone", "message": f"{time_zone!r} is not a time zone; {hint}"})
        zone = ZoneInfo("UTC")
    try:
        if len(cron.split()) != FIELDS or len(cron) > CRON_CHARS:
            raise CronSimError("write minute, hour, day of month, month, day of week, such as 30 2 * * mon-fri")
        next(CronSim(cron, _ANY_MOMENT.astimezone(zone)))
    except CronSimError as error:
        problems.append({"path": "cron", "message": f"{cron!r} is not a cron expression of five fields: {error}"})
    except StopIteration:
        problems.append({"path": "cron", "message": f"{cron!r} never matches a time"})
    if problems:
        raise ParamsInvalid(problems)


def moments_after(schedule: Schedule, moment: datetime) -> Iterator[datetime]:
    """Yield the schedule's moments after the given one, in order and in UTC.

    Across a change to or from daylight-saving time the library does as Debian's cron: what falls into the hour left out
    runs right after it, and what falls into the hour that comes twice runs once.
    """
    last = moment
    for local in CronSim(schedule.cron, moment.astimezone(ZoneInfo(schedule.time_zone))):
        # Asked in the hour that comes for the second time, the library answers with a moment of the first.
        if local.astimezone(UTC) > last:
            last = local.astimezone(UTC)
            yield last


def next_after(schedule: Schedule, moment: datetime) -> datetime | None:
    """Return the schedule's first moment after the given one, or None when there is none."""
    return next(moments_after(schedule, moment), None)


def upcoming(schedule: Schedule, moment: datetime, count: int = 5) -> list[datetime]:
    """Return the next few moments, for people to see."""
    return list(islice(moments_after(schedule, moment), count))
