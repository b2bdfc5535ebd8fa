"""Tasks that are due by the clock, spawned by whichever process looks first."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import chain, islice, takewhile
from typing import Any

from cronsim import CronSimError
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from tasks_app.engine import cron
from tasks_app.engine.events import Change, announce
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn_many
from tasks_app.engine.system_state import is_enabled
from tasks_app.errors import AbsurdError, Disabled
from tasks_app.models import CatchUp, Schedule, Task
from tasks_app.postgresql import clock, outages

CATCH_UP_MOST = 1000
"""The largest number of missed runs caught up in one round; the rest follow in the next."""
REASON_CHARS = 2000


def fire_due(limit: int = 100) -> int:
    """Spawn what the enabled schedules have due; return how many tasks.

    Safe to run anywhere at once: a schedule's row is locked while its tasks are spawned and its next moment is set, in
    one transaction, and a second process finds nothing due. While Absurd is disabled they wait.
    """
    if not is_enabled():
        _note_disabled()
        return 0
    due = _due().order_by("next_run_at", "id").values_list("pk", flat=True)
    return sum(_fire(pk) for pk in due[:limit])


def _due() -> QuerySet[Schedule]:
    return Schedule.objects.filter(enabled=True, next_run_at__lte=clock.DatabaseNow())


def _note_disabled() -> None:
    late = clock.now() - timedelta(seconds=cron.MISSED_AFTER_SEC)
    _due().filter(next_run_at__lte=late).exclude(last_error=str(Disabled())).update(last_error=str(Disabled()))


def _fire(pk: int) -> int:
    """Spawn what is due of one schedule and move it on, unless somebody else is doing so."""
    with transaction.atomic():
        schedule = _due().select_for_update(skip_locked=True).filter(pk=pk).first()
        if schedule is None:
            return 0
        moment = clock.now()
        try:
            with transaction.atomic():
                wanted, following = _due_moments(schedule, moment)
                tasks = spawn_many([request_of(schedule, at) for at in wanted], actor=f"schedule:{schedule.name}")
        except Exception as error:
            if outages.is_outage(error):
                raise
            # Nothing that is wrong with one schedule may hold up the others, or be tried again every half second.
            tasks, following = [], _after_refusal(schedule, error, moment)
        if tasks:
            note_run(schedule, tasks[-1], wanted[-1])
        schedule.next_run_at = following
        schedule.save(update_fields=["next_run_at", "last_run_at", "last_task_id", "last_error"])
    return len(tasks)


def _after_refusal(schedule: Schedule, error: Exception, moment: datetime) -> datetime | None:
    """Tell where operators look, once, and return the moment at which it is retried."""
    reason = (str(error) if isinstance(error, AbsurdError) else f"{type(error).__name__}: {error}")[:REASON_CHARS]
    if schedule.last_error != reason:
        announce_change(schedule, "schedule_refused", "queue", reason)
    schedule.last_error = reason
    try:
        return cron.next_after(schedule, moment)
    except (CronSimError, KeyError, ValueError, OSError):
        # Its expression or time zone is not valid here any more; it spawns nothing until it is corrected.
        return None


def _due_moments(schedule: Schedule, moment: datetime) -> tuple[list[datetime], datetime | None]:
    """Return the moments to spawn for, by the catch-up policy, and the next one to wait for."""
    due = schedule.next_run_at
    following = cron.next_after(schedule, moment)
    if due is None:
        return [], following

    def passed(moments: Iterable[datetime]) -> Iterable[datetime]:
        return takewhile(lambda at: at <= moment, moments)

    if schedule.catch_up == CatchUp.ALL:
        missed = list(islice(passed(chain([due], cron.moments_after(schedule, due))), CATCH_UP_MOST + 1))
        return missed[:CATCH_UP_MOST], missed[CATCH_UP_MOST] if len(missed) > CATCH_UP_MOST else following
    recently = moment - timedelta(seconds=cron.MISSED_AFTER_SEC)
    if schedule.catch_up == CatchUp.SKIP and due < recently:
        return list(passed(cron.moments_after(schedule, recently)))[-1:], following
    return [due], following


def request_of(schedule: Schedule, at: datetime | None = None) -> TaskOptions:
    """Return what the schedule spawns: for one of its moments, or now."""
    request = TaskOptions(
        task_name=schedule.task_name,
        params=schedule.params,
        queue_name=schedule.queue_name or settings.ABSURD_QUEUE_NAME,
        priority=schedule.priority,
    )
    if at is None:
        return request
    key = f"schedule:{schedule.pk}:{clock.stamp(at)}"
    # Drawn from the key, so that the same moment always asks for the same.
    later_sec = random.Random(key).uniform(0, schedule.jitter_sec)  # noqa: S311 - jitter, not a secret
    later = {"scheduled_at": at + timedelta(seconds=later_sec)} if later_sec else {}
    return request.model_copy(update={"idempotency_key": key, **later})


def note_run(schedule: Schedule, task: Task, at: datetime) -> None:
    """Set what the schedule's row says of its last run; the caller saves it."""
    schedule.last_run_at, schedule.last_task_id, schedule.last_error = at, task.task_id, ""


def announce_change(
    schedule: Schedule, event_type: str, actor: str, reason: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Record what has happened to a schedule, in the transaction that is open."""
    act = Change(
        event_type=event_type, actor=actor, reason=reason, detail={"schedule": schedule.name, **(detail or {})}
    )
    announce(act, queue_name=schedule.queue_name)
