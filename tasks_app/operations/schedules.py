"""Schedules: make and change them; operations that run, enable, disable and delete them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from django.db import connection, transaction

from tasks_app.engine import cron, names, registry
from tasks_app.engine.spawn import spawn
from tasks_app.errors import ParamsInvalid, ScheduleNotFound
from tasks_app.maintenance.schedules import announce_change, note_run, request_of
from tasks_app.models import CatchUp, Schedule, Task
from tasks_app.operations.operation import Operation, Params, R
from tasks_app.postgresql import clock
from tasks_app.priority import PRIORITY_LEAST, PRIORITY_MOST

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

    Its next moment is worked out again. Raises ParamsInvalid, UnknownTaskName, and ScheduleNotFound where it is neither
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
        event_type = "schedule_made" if created else "schedule_changed"
        schedule = schedule or Schedule(name=name, created_by=actor)
        for field in FIELDS:
            setattr(schedule, field, values.get(field, getattr(schedule, field)))
        check(schedule)
        schedule.next_run_at = cron.next_after(schedule, clock.now()) if schedule.enabled else None
        schedule.last_error = ""
        schedule.save()
        announce_change(schedule, event_type, actor, reason, {field: getattr(schedule, field) for field in FIELDS})
    return schedule, created


def check(schedule: Schedule) -> None:
    """Raise ParamsInvalid or UnknownTaskName for what could never be spawned."""
    cron.check_times(schedule.cron, schedule.time_zone)
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
            yield "params", "remove the NUL character, which cannot be stored"
    except (TypeError, ValueError) as error:
        yield "params", f"this cannot be stored: {error}"


class ScheduleOperation(Operation[Params, R]):
    """Its target's key is the name."""

    target_kind = "schedule"
    permission = "tasks_app.run_schedule"
    params_model = Params


class RunSchedule(ScheduleOperation[Task]):
    """Spawns a schedule's task now."""

    name = "run"
    label = "Run now"
    effect = "Its task is spawned at once; its next run stays."
    event_types = ("schedule_run",)

    @transaction.atomic
    def act(self, key: str, params: Params, actor: str) -> Task:
        """Spawn the task. Raises ScheduleNotFound and what spawn raises."""
        schedule = _locked(key)
        task = spawn(request_of(schedule), actor=actor)
        note_run(schedule, task, clock.now())
        schedule.save(update_fields=["last_run_at", "last_task_id", "last_error"])
        announce_change(schedule, "schedule_run", actor, params.reason, {"task_id": str(task.task_id)})
        return task

    def outcome(self, result: Task) -> str:
        return f"spawned {result.task_name} {result.task_id} into {result.queue_id}"


class EnableSchedule(ScheduleOperation[Schedule]):
    """Lets a schedule spawn from now on."""

    name = "enable"
    label = "Enable"
    effect = "It spawns again from its next moment on; missed moments are not caught up."
    done = "enabled"
    event_types = ("schedule_enabled",)

    def refusal(self, target: Schedule) -> str:
        return "it is enabled already" if target.enabled else ""

    def act(self, key: str, params: Params, actor: str) -> Schedule:
        """Enable the schedule. Raises ScheduleNotFound."""
        return _set_enabled(key, True, actor=actor, reason=params.reason)


class DisableSchedule(ScheduleOperation[Schedule]):
    """Lets a schedule spawn no longer."""

    name = "disable"
    label = "Disable"
    effect = "It spawns nothing until it is enabled."
    done = "disabled"
    event_types = ("schedule_disabled",)

    def refusal(self, target: Schedule) -> str:
        return "" if target.enabled else "it is disabled already"

    def act(self, key: str, params: Params, actor: str) -> Schedule:
        """Disable the schedule. Raises ScheduleNotFound."""
        return _set_enabled(key, False, actor=actor, reason=params.reason)


class DeleteSchedule(ScheduleOperation[None]):
    """Removes a schedule."""

    name = "delete"
    label = "Delete"
    effect = "It is removed and spawns nothing any more; tasks already spawned are kept."
    done = "deleted"
    permission = "tasks_app.delete_schedule"
    scope = "admin"
    event_types = ("schedule_deleted",)
    dangerous = True

    @transaction.atomic
    def act(self, key: str, params: Params, actor: str) -> None:
        """Delete the schedule. Raises ScheduleNotFound."""
        schedule = _locked(key)
        announce_change(schedule, "schedule_deleted", actor, params.reason)
        schedule.delete()


@transaction.atomic
def _set_enabled(name: str, enabled: bool, *, actor: str, reason: str) -> Schedule:
    schedule = _locked(name)
    schedule.enabled = enabled
    schedule.next_run_at = cron.next_after(schedule, clock.now()) if enabled else None
    schedule.save(update_fields=["enabled", "next_run_at"])
    announce_change(schedule, "schedule_enabled" if enabled else "schedule_disabled", actor, reason)
    return schedule


def _locked(name: str) -> Schedule:
    schedule = Schedule.objects.select_for_update().filter(name=name).first()
    if schedule is None:
        raise ScheduleNotFound(name)
    return schedule


run_now, enable, disable, delete = RunSchedule(), EnableSchedule(), DisableSchedule(), DeleteSchedule()
