"""Schedules: make and change them; operations that run, enable, disable and delete them."""

from __future__ import annotations

from typing import Annotated, Literal

from django.db import connection, transaction
from pydantic import Field

from tasks_app import validation
from tasks_app.engine import cron, registry
from tasks_app.engine.options import ScheduledOptions
from tasks_app.engine.spawn import spawn
from tasks_app.errors import ParamsInvalid, ScheduleNotFound
from tasks_app.maintenance.schedules import announce_change, note_run, request_of
from tasks_app.models import Schedule, Task
from tasks_app.operations.operation import Operation, Params, R, partial_params, row_of
from tasks_app.postgresql import clock
from tasks_app.validation import Fault

CREATING = 0x5343
"""First key of the advisory locks under which schedules are created, by name."""


class SaveScheduleParams(ScheduledOptions, Params):
    """A schedule, and the reason why it is created or changed."""

    queue_name: Annotated[str, Fault(validation.fault_of_name)] = Field(
        default="",
        max_length=validation.QUEUE_CHARS,
        pattern=f"^({validation.NAME})?$",
        description="The queue that its tasks enter; empty: the default queue.",
    )
    cron: str = Field(max_length=100, description="Minute, hour, day of month, month, day of week.")
    time_zone: str = Field(default="UTC", max_length=50, description="Such as UTC or America/Los_Angeles.")
    enabled: bool = True
    catch_up: Literal["skip", "one", "all"] = Field(default="one", description="What is spawned for missed runs.")
    jitter_sec: int = Field(default=0, ge=0, le=86_400, description="Spawned up to this much later, at random.")


FIELDS = tuple(name for name in SaveScheduleParams.model_fields if name != "reason")
ChangeScheduleParams = partial_params(
    "ChangeScheduleParams", "What is changed of a schedule, and the reason.", SaveScheduleParams, FIELDS
)


class ScheduleOperation(Operation[Params, R]):
    """Its target's key is the name."""

    target_kind = "schedule"
    permission = "tasks_app.run_schedule"
    params_model = Params

    def locked(self, name: str) -> Schedule:
        """Return the schedule, locked. Raises ScheduleNotFound."""
        return row_of(Schedule.objects.select_for_update().filter(name=name), ScheduleNotFound(name))


class WriteSchedule(ScheduleOperation[Schedule]):
    """Sets what is given of a schedule, and works out its next moment again."""

    permission = "tasks_app.change_schedule"
    scope = "admin"
    event_types = ("schedule_made", "schedule_changed")
    creates: bool

    @transaction.atomic
    def act(self, key: str, params: Params, actor: str) -> Schedule:
        """Write it. Raises ParamsInvalid, UnknownTaskName, and ScheduleNotFound where it is not created."""
        # Two who create the same one at once: the second waits here until the first has committed, and changes it.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [CREATING, key])
        found = Schedule.objects.select_for_update().filter(name=key).first() if self.creates else self.locked(key)
        schedule = found or Schedule(name=key, created_by=actor)
        for field, value in params.model_dump(exclude={"reason"}, exclude_none=True).items():
            setattr(schedule, field, value)
        check(schedule)
        schedule.next_run_at = cron.next_after(schedule, clock.now()) if schedule.enabled else None
        schedule.last_error = ""
        schedule.save()
        schedule.is_new = found is None
        detail = {field: getattr(schedule, field) for field in FIELDS}
        announce_change(schedule, self.event_types[found is not None], actor, params.reason, detail)
        return schedule


def check(schedule: Schedule) -> None:
    """Raise ParamsInvalid or UnknownTaskName for values, each valid by itself, that could never be spawned."""
    cron.check_times(schedule.cron, schedule.time_zone)
    registry.check_params(registry.get(schedule.task_name), dict(schedule.params))
    name = schedule.name
    if not 1 <= len(name) <= 100 or not name.isprintable() or "/" in name or name != name.strip():
        message = f"must be 1 to 100 printable characters without a slash or spaces around it (got {name[:100]!r})"
        raise ParamsInvalid([{"path": "name", "message": message}])


class RunSchedule(ScheduleOperation[Task]):
    """Spawns a schedule's task now."""

    name = "run"
    label = "Run now"
    effect = "Its task is spawned at once; its next run stays."
    event_types = ("schedule_run",)

    @transaction.atomic
    def act(self, key: str, params: Params, actor: str) -> Task:
        """Spawn the task. Raises ScheduleNotFound and what spawn raises."""
        schedule = self.locked(key)
        task = spawn(request_of(schedule), actor=actor)
        note_run(schedule, task, clock.now())
        schedule.save(update_fields=["last_run_at", "last_task_id", "last_error"])
        announce_change(schedule, "schedule_run", actor, params.reason, {"task_id": str(task.task_id)})
        return task

    def outcome(self, result: Task) -> str:
        return f"spawned {result.task_name} {result.task_id} into {result.queue_id}"


class SwitchSchedule(ScheduleOperation[Schedule]):
    """Changes whether a schedule spawns."""

    enabled: bool

    def refusal(self, target: Schedule) -> str:
        return f"it is {self.done} already" if target.enabled == self.enabled else ""

    @transaction.atomic
    def act(self, key: str, params: Params, actor: str) -> Schedule:
        """Enable or disable the schedule. Raises ScheduleNotFound."""
        schedule = self.locked(key)
        schedule.enabled = self.enabled
        schedule.next_run_at = cron.next_after(schedule, clock.now()) if self.enabled else None
        schedule.save(update_fields=["enabled", "next_run_at"])
        announce_change(schedule, self.event_types[0], actor, params.reason)
        return schedule


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
        schedule = self.locked(key)
        announce_change(schedule, "schedule_deleted", actor, params.reason)
        schedule.delete()


save = WriteSchedule(
    name="save",
    label="Save",
    effect="Creates or replaces the schedule; fields left out get their defaults.",
    done="saved",
    params_model=SaveScheduleParams,
    creates=True,
)
change = WriteSchedule(
    name="change",
    label="Change",
    effect="Changes only the given fields.",
    done="changed",
    params_model=ChangeScheduleParams,
    creates=False,
)
run_now, delete = RunSchedule(), DeleteSchedule()
enable = SwitchSchedule(
    name="enable",
    label="Enable",
    effect="It spawns again from its next moment on; missed moments are not caught up.",
    done="enabled",
    event_types=("schedule_enabled",),
    enabled=True,
)
disable = SwitchSchedule(
    name="disable",
    label="Disable",
    effect="It spawns nothing until it is enabled.",
    done="disabled",
    event_types=("schedule_disabled",),
    enabled=False,
)
