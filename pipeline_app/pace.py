"""Whether the pipeline keeps up with the telescope: tiles that are not done yet, and the real-time factor."""

from __future__ import annotations

from datetime import datetime, timedelta
from statistics import median

from django.db.models import Count, Exists, F, OuterRef, Q, Sum

from pipeline_app.models import Observation, ObservationState
from tasks_app.models import Task, TaskStatus
from tasks_app.monitoring import alerts, series
from tasks_app.monitoring.health import Check, Subject
from tasks_app.monitoring.health.checks import threshold
from tasks_app.monitoring.health.faults import acknowledged_at, add, report
from tasks_app.postgresql import clock

WITHIN = timedelta(days=1)
"""Older observations are history."""
READ_MOST = 500
FACTOR_TILES = 10
ROW = "Tiles"


def unfinished(since: datetime) -> list[Observation]:
    """Return the observations whose last file came after `since` and whose run waits or is at work, oldest first."""
    latest = Observation.objects.order_by("-id").values("pk")[:READ_MOST]
    at_work = Task.objects.filter(run__run_id=OuterRef("run_id"), status__in=(TaskStatus.PENDING, TaskStatus.CLAIMED))
    is_unfinished = Q(state=ObservationState.READY) | Q(Exists(at_work), state=ObservationState.STARTED)
    found = Observation.objects.filter(is_unfinished, pk__in=latest, last_file_at__gt=since)
    return list(found.order_by("last_file_at"))


def late_tiles(_queue: str) -> Check:
    """Check for observations that are not done long after their last file came."""
    late_sec = threshold("tile_late_warn_sec")
    moment = clock.now()
    rows = unfinished(max(acknowledged_at("late tiles"), moment - WITHIN))
    ages = [(row, (moment - row.last_file_at).total_seconds()) for row in rows]
    return report(
        "late tiles",
        [
            Subject(
                kind="observation",
                key=str(row.pk),
                message=f"observation {row.name} is not done {age_sec / 60:.0f} min after its last file",
            )
            for row, age_sec in ages
            if age_sec > late_sec
        ],
        no_fault="No observation of the last day is late",
        remedy="see what its run waits for; start more workers if all are busy",
        value=round(max((age_sec for _, age_sec in ages), default=0.0)),
        threshold=late_sec,
    )


def tile_age_sec() -> float:
    """Return the seconds since the last file of the oldest tile of the last day that is not done; 0 without one."""
    moment = clock.now()
    rows = unfinished(moment - WITHIN)
    return (moment - rows[0].last_file_at).total_seconds() if rows else 0.0


def real_time_factor() -> float | None:
    """Return the seconds of work over the seconds of data, as the median of the last tiles that are done.

    Below 1 one tile after the other keeps up with the telescope.
    """
    moment = clock.now()
    rows = list(
        Observation.objects.filter(
            state=ObservationState.STARTED, last_file_at__gt=moment - WITHIN, duration_sec__gt=0
        ).order_by("-start_mjd")[: 5 * FACTOR_TILES]
    )
    tasks = (
        Task.objects.filter(run__run_id__in=[row.run_id for row in rows if row.run_id])
        .values("run__run_id")
        .order_by()
        .annotate(
            others=Count("pk", filter=~Q(status=TaskStatus.COMPLETED)),
            busy=Sum(F("completed_at") - F("claimed_at"), filter=Q(status=TaskStatus.COMPLETED)),
        )
    )
    busy = {each["run__run_id"]: each["busy"] for each in tasks if not each["others"] and each["busy"] is not None}
    factors = [busy[row.run_id].total_seconds() / row.duration_sec for row in rows if row.run_id in busy]
    return median(factors[:FACTOR_TILES]) if factors else None


SERIES = [
    series.Series(row=ROW, name="tile_age_seconds", read=lambda _: [((), tile_age_sec())],
                  text="Seconds since the last file of the oldest tile of the last day that is not done, else 0."),
    series.Series(row=ROW, name="real_time_factor", read=lambda _: [((), real_time_factor())],
                  text="Seconds of work over seconds of data: median of the last ten tiles that are done."),
]  # fmt: skip
ALERTS = [
    alerts.of_check("AbsurdTilesLate", "late tiles", "Tiles are not done long after their last file came"),
    alerts.of_check("AbsurdObservationsIncomplete", "incomplete observations", "Subbands of an observation never came"),
]


def register() -> None:
    """Add the check, the metrics and their alerts; those that are there stay."""
    add("late tiles", late_tiles)
    series.SERIES += [each for each in SERIES if each not in series.SERIES]
    alerts.ALERTS += [each for each in ALERTS if each not in alerts.ALERTS]
