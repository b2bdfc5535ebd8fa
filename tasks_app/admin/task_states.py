"""The states in which tasks are listed: the stored statuses, and the finer ones that an operator looks for."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.db.models import CharField, Q, QuerySet, Value
from django.utils import timezone

from tasks_app.models import Hold, Task, TaskStatus
from tasks_app.models.querysets import FUTURES, WAITINGS
from tasks_app.monitoring.queues import task_counts

COUNTED_MOST = 1000
LATEST_READ = 10_000

PENDING = Q(status=TaskStatus.PENDING)
FINER = {
    "claimable": PENDING & Q(hold=0),
    "scheduled": PENDING & Q(hold__in=FUTURES, retry_count=0) & ~Q(hold__in=WAITINGS),
    "retrying": PENDING & Q(hold__in=FUTURES, retry_count__gt=0) & ~Q(hold__in=WAITINGS),
    "waiting": PENDING & Q(hold__in=WAITINGS),
    "limited": PENDING & Q(hold=Hold.LIMIT),
    "cancelling": Q(status=TaskStatus.CLAIMED, cancel_requested_at__isnull=False),
    "quarantined": Q(status=TaskStatus.FAILED, quarantined_at__isnull=False),
}
STATES = (*TaskStatus.values, *FINER, "stalled")


def in_state(rows: QuerySet[Any], state: str) -> QuerySet[Any]:
    """Return the tasks in a state. Raises KeyError for one that is none of STATES."""
    if state in TaskStatus.values:
        return rows.filter(status=state)
    return rows.filter(_stalled() if state == "stalled" else FINER[state])


def counts(queues: list[str]) -> dict[str, str]:
    """Return how many tasks of these queues are in each state; the finer ones are counted up to COUNTED_MOST."""
    stored: Counter[str] = Counter()
    for (_, status), count in task_counts(queues).items():
        stored[status] += count
    finer = [
        in_state(Task.objects.filter(queue_id__in=queues), state)
        .order_by()
        .annotate(state=Value(state, output_field=CharField()))
        .values_list("state")[:COUNTED_MOST]
        for state in (*FINER, "stalled")
    ]
    counted = Counter(state for (state,) in finer[0].union(*finer[1:], all=True))
    written = {state: f"{stored[state]:,}" for state in TaskStatus.values}
    return written | {
        state: f"{counted[state]:,}" if counted[state] < COUNTED_MOST else f"{COUNTED_MOST:,}+"
        for state in (*FINER, "stalled")
    }


def _stalled() -> Q:
    return Q(status=TaskStatus.CLAIMED, lease_until__lt=timezone.now())
