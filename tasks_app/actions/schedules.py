"""Make, change, enable and run schedules, and spawn what is due."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain, islice, takewhile
from typing import Any

from cronsim import CronSimError
from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet

from tasks_app import clock, names, outages, registry, schedules, transitions
from tasks_app.actions.spawn import spawn, spawn_many
from tasks_app.actions.spawn_request import SpawnRequest
from tasks_app.errors import AbsurdError, Disabled, ParamsInvalid, ScheduleNotFound
from tasks_app.models import CatchUp, Schedule, Task
from tasks_app.models.task import PRIORITY_LEAST, PRIORITY_MOST
from tasks_app.system_state import is_enabled
from tasks_app.transitions import Act

CATCH_UP_MOST = 1000
"""So many missed moments at most are caught up in one round; the rest in the next."""
REASON_CHARS = 2000
CREATING = 0x5343
"""First key of the advisory locks under which schedules are created, by name."""
FIELDS = ("cron", "time_zone", "task_name", "params", "queue_name", "priority", "enabled", "catch_up", "jitter_sec")


def save(name: str, values: Mapping[str, Any], *, actor: str, reason: str = "") -> Schedule:
    """Create the schedule or change what is given of it; see `save_or_create`."""
    return save_or_create(name, values, actor=actor, reason=reason)[0]


def save_or_create(
    name: str, values: Mapping[str, Any], *, actor: str, reason: str = "", create: bool = True
) -> tuple[Schedule, bool]:
    """Change what is given of the schedule, or create it; return it and whether it was created.

    Its next moment is worked out anew. Raises ParamsInvalid, UnknownTaskName, and ScheduleNotFound where it is neither
    there nor to be created.
    """
    with transaction.atomic():
        # Two who create the same one at once: the second waits here until the first has committed, and changes it.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [CREATING, name])
        schedule = Schedule.objects.select_for_update().filter(name=name).first()
        created = schedule is None
        if created and not create:
            raise ScheduleNotFound(name)
        verb = "schedule_made" if created else "schedule_changed"
        schedule = schedule or Schedule(name=name, created_by=actor)
        for field in FIELDS:
            setattr(schedule, field, values.get(field, getattr(schedule, field)))
        check(schedule)
        schedule.next_run_at = schedules.next_after(schedule, clock.now()) if schedule.enabled else None
        schedule.last_error = ""
        schedule.save()
        _tell(schedule, verb, actor, reason, {field: getattr(schedule, field) for field in FIELDS})
    return schedule, created


def check(schedule: Schedule) -> None:
    """Raise ParamsInvalid or UnknownTaskName for what could never be spawned."""
    schedules.check_times(schedule.cron, schedule.time_zone)
    registry.check_params(registry.get(schedule.task_name), dict(schedule.params))
    problems = [{"path": path, "message": fault} for path, fault in _faults_of_text(schedule)]
    if not PRIORITY_LEAST <= schedule.priority <= PRIORITY_MOST:
        problems.append({"path": "priority", "message": f"write {PRIORITY_LEAST} to {PRIORITY_MOST}"})
    if schedule.catch_up not in CatchUp.values:
        problems.append({"path": "catch_up", "message": f"write {', '.join(CatchUp.values)}"})
    if not 0 <= schedule.jitter_sec <= 86_400:
        problems.append({"path": "jitter_sec", "message": "write 0 to 86400 seconds"})
    if problems:
        raise ParamsInvalid(problems)


def _faults_of_text(schedule: Schedule) -> Iterator[tuple[str, str]]:
    if not 1 <= len(schedule.name) <= 100 or not schedule.name.isprintable() or "/" in schedule.name:
        yield "name", "write 1 to 100 printable characters without a slash"
    elif schedule.name != schedule.name.strip():
        yield "name", "write it without spaces around it"
    if schedule.queue_name and (fault := names.fault_of_name(schedule.queue_name)):
        yield "queue_name", f"{fault}; empty: the default queue"
    try:
        if "\\u0000" in json.dumps(schedule.params, allow_nan=False):
            yield "params", "leave out the character NUL, which cannot be stored"
    except (TypeError, ValueError) as error:
        yield "params", f"this cannot be stored: {error}"


def delete(name: str, *, actor: str, reason: str = "") -> None:
    """Remove the schedule; tasks that it spawned stay. Raises ScheduleNotFound."""
    with transaction.atomic():
        schedule = _locked(name)
        _tell(schedule, "schedule_deleted", actor, reason)
        schedule.delete()


def set_enabled(name: str, enabled: bool, *, actor: str, reason: str = "") -> Schedule:
    """Let the schedule spawn from now on, or no longer; nothing is caught up. Raises ScheduleNotFound."""
    with transaction.atomic():
        schedule = _locked(name)
        schedule.enabled = enabled
        schedule.next_run_at = schedules.next_after(schedule, clock.now()) if enabled else None
        schedule.save(update_fields=["enabled", "next_run_at"])
        _tell(schedule, "schedule_enabled" if enabled else "schedule_disabled", actor, reason)
    return schedule


def run_now(name: str, *, actor: str, reason: str = "") -> Task:
    """Spawn the schedule's task at once; its next moment stays. Raises ScheduleNotFound and what spawn raises."""
    with transaction.atomic():
        schedule = _locked(name)
        task = spawn(_request(schedule), actor=actor)
        _note_run(schedule, task, clock.now())
        schedule.save(update_fields=["last_run_at", "last_task_id", "last_error"])
        _tell(schedule, "schedule_run", actor, reason, {"task_id": str(task.task_id)})
    return task


def fire_due(limit: int = 100) -> int:
    """Spawn what the enabled schedules have due; return how many tasks.

    Safe to run anywhere at once: a schedule's row is locked while its tasks are spawned and its next moment is set, in
    one transaction, and whoever comes second finds nothing due. While Absurd is disabled they wait.
    """
    if not is_enabled():
        _note_disabled()
        return 0
    due = _due().order_by("next_run_at", "id").values_list("pk", flat=True)
    return sum(_fire(pk) for pk in due[:limit])


def _due() -> QuerySet[Schedule]:
    return Schedule.objects.filter(enabled=True, next_run_at__lte=clock.DatabaseNow())


def _note_disabled() -> None:
    late = clock.now() - timedelta(seconds=schedules.MISSED_AFTER_SEC)
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
                tasks = spawn_many([_request(schedule, at) for at in wanted], actor=f"schedule:{schedule.name}")
        except Exception as error:
            if outages.is_outage(error):
                raise
            # Nothing that is wrong with one schedule may hold up the others, or be tried again every half second.
            tasks, following = [], _after_refusal(schedule, error, moment)
        if tasks:
            _note_run(schedule, tasks[-1], wanted[-1])
        schedule.next_run_at = following
        schedule.save(update_fields=["next_run_at", "last_run_at", "last_task_id", "last_error"])
    return len(tasks)


def _after_refusal(schedule: Schedule, error: Exception, moment: datetime) -> datetime | None:
    """Tell where operators look, once, and return the moment at which it is tried again."""
    reason = (str(error) if isinstance(error, AbsurdError) else f"{type(error).__name__}: {error}")[:REASON_CHARS]
    if schedule.last_error != reason:
        _tell(schedule, "schedule_refused", "queue", reason)
    schedule.last_error = reason
    try:
        return schedules.next_after(schedule, moment)
    except (CronSimError, KeyError, ValueError, OSError):
        # Its expression or time zone means nothing here any more; it rests until somebody mends it.
        return None


def _due_moments(schedule: Schedule, moment: datetime) -> tuple[list[datetime], datetime | None]:
    """Return the moments to spawn for, by the catch-up policy, and the next one to wait for."""
    due = schedule.next_run_at
    following = schedules.next_after(schedule, moment)
    if due is None:
        return [], following

    def passed(moments: Iterable[datetime]) -> Iterable[datetime]:
        return takewhile(lambda at: at <= moment, moments)

    if schedule.catch_up == CatchUp.ALL:
        missed = list(islice(passed(chain([due], schedules.moments_after(schedule, due))), CATCH_UP_MOST + 1))
        return missed[:CATCH_UP_MOST], missed[CATCH_UP_MOST] if len(missed) > CATCH_UP_MOST else following
    recently = moment - timedelta(seconds=schedules.MISSED_AFTER_SEC)
    if schedule.catch_up == CatchUp.SKIP and due < recently:
        return list(passed(schedules.moments_after(schedule, recently)))[-1:], following
    return [due], following


def _request(schedule: Schedule, at: datetime | None = None) -> SpawnRequest:
    """Return what the schedule spawns: for one of its moments, or now."""
    request = SpawnRequest(
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
    return replace(request, idempotency_key=key, run_after=at + timedelta(seconds=later_sec) if later_sec else None)


def _note_run(schedule: Schedule, task: Task, at: datetime) -> None:
    schedule.last_run_at, schedule.last_task_id, schedule.last_error = at, task.task_id, ""


def _locked(name: str) -> Schedule:
    schedule = Schedule.objects.select_for_update().filter(name=name).first()
    if schedule is None:
        raise ScheduleNotFound(name)
    return schedule


def _tell(schedule: Schedule, verb: str, actor: str, reason: str, detail: Mapping[str, Any] | None = None) -> None:
    act = Act(verb=verb, actor=actor, reason=reason, detail={"schedule": schedule.name, **(detail or {})})
    transitions.announce(act, queue_name=schedule.queue_name)
