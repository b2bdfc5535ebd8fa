"""Faults of data that need attention, among the checks of health: verdicts, and observations that lack subbands."""

from __future__ import annotations

from datetime import timedelta

from pipeline_app.models import Calibration, Observation, ObservationState, Product
from tasks_app.monitoring.health import Check, Subject
from tasks_app.monitoring.health.faults import acknowledged_at, add, report
from tasks_app.postgresql import clock

WITHIN = timedelta(days=1)
"""Older verdicts and observations are history."""
READ_MOST = 500
VERDICTS = ("fail", "warn")


def verdicts(_queue: str) -> Check:
    """Check the verdicts of the last day's calibrations and of what was made from the data."""
    since = max(acknowledged_at("verdicts"), clock.now() - WITHIN)
    latest = Product.objects.order_by("-id").values("pk")[:READ_MOST]
    calibrations = Calibration.objects.filter(created_at__gt=since, verdict__in=VERDICTS).order_by("-id")[:READ_MOST]
    judged = {row.path for row in calibrations}
    products = (
        Product.objects.filter(pk__in=latest, created_at__gt=since, verdict__in=VERDICTS)
        .exclude(path__in=judged)
        .select_related("observation")
        .order_by("-id")
    )
    found = [
        (row.verdict, Subject(kind="calibration", key=str(row.pk), message=_of_calibration(row)))
        for row in calibrations
    ]
    of_observations: dict[object, list[Product]] = {}
    for row in products:
        of_observations.setdefault(row.observation_id or row.path, []).append(row)
    found += [_of_products(rows) for rows in of_observations.values()]
    return report(
        "verdicts",
        [subject for _, subject in sorted(found, key=lambda each: VERDICTS.index(each[0]))],
        no_fault="No verdict of the last day is worse than pass",
        remedy="see its plots and reasons; what was made from a failed calibration is made again after a better one",
    )


def _of_calibration(row: Calibration) -> str:
    why = f": {'; '.join(map(str, row.reasons))}" if row.reasons else ""
    return f"calibration of {row.observation or 'no observation'} has the verdict {row.verdict}{why}"


def _of_products(rows: list[Product]) -> tuple[str, Subject]:
    """Return the worst verdict, and what is said of the products of one observation, the first made first."""
    worst = min((row.verdict for row in rows), key=VERDICTS.index)
    kinds = ", ".join(dict.fromkeys(row.kind for row in reversed(rows) if row.verdict == worst))
    first = rows[-1]
    if first.observation is None:
        return worst, Subject(kind="product", key=str(first.pk), message=f"{kinds} has the verdict {worst}")
    of_it = f"observation {first.observation} has the verdict {worst} ({kinds})"
    return worst, Subject(kind="observation", key=str(first.observation_id), message=of_it)


def incomplete(_queue: str) -> Check:
    """Check for observations of the last day that wait for subbands that have not come."""
    since = max(acknowledged_at("incomplete observations"), clock.now() - WITHIN)
    latest = Observation.objects.order_by("-id").values("pk")[:READ_MOST]
    rows = Observation.objects.filter(
        pk__in=latest, state=ObservationState.INCOMPLETE, last_file_at__gt=since
    ).order_by("-id")
    return report(
        "incomplete observations",
        [
            Subject(kind="observation", key=str(row.pk), message=f"observation {row.name} is incomplete: {row.reason}")
            for row in rows
        ],
        no_fault="No observation of the last day is incomplete",
        remedy="find the missing files, or start it with the subbands that it has",
    )


add("verdicts", verdicts)
add("incomplete observations", incomplete)
