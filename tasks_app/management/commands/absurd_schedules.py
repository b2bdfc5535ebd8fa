"""`manage.py absurd_schedules list|run|enable|disable|delete`: schedules from the shell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks_app.engine import cron
from tasks_app.errors import ScheduleNotFound
from tasks_app.management.operations import Target, TargetCommand
from tasks_app.models import Schedule, Task
from tasks_app.postgresql import clock

UPCOMING = 5


class Command(TargetCommand):
    help = (
        "list: every schedule, with its next moments. run NAME: spawn its task now; its next moment stays as it is. "
        "enable NAME, disable NAME: from now on. delete NAME: remove it. Schedules are made and changed in the "
        "console. Exit codes: 0 ok, 1 failed, 2 usage, 3 no such schedule, 75 Absurd is disabled."
    )
    target_kind = "schedule"

    def add_readings(self, subparsers: Any) -> None:
        subparsers.add_parser("list", allow_abbrev=False, help="every schedule, with its next moments")

    def find(self, text: str) -> Target:
        """Return the schedule. Raises ScheduleNotFound."""
        schedule = Schedule.objects.filter(name=text).first()
        if schedule is None:
            raise ScheduleNotFound(text)
        return Target(key=text, label=text, identity={"schedule": text}, row=schedule)

    def details_of(self, result: Any) -> Mapping[str, Any]:
        if isinstance(result, Task):
            return {"task_id": result.task_id, "queue_name": result.queue_id}
        return _summary(result) if isinstance(result, Schedule) else {}

    def read(self, options: dict[str, Any]) -> None:
        """List all schedules."""
        self._list(as_json=options["json"])

    def _list(self, *, as_json: bool) -> None:
        found = list(Schedule.objects.order_by("name"))
        if as_json:
            self.write_json([_summary(schedule) for schedule in found])
            return
        for schedule in found:
            self.stdout.write(_line(schedule))
            if schedule.last_error:
                self.stdout.write(f"  last refused: {schedule.last_error}")
        if not found:
            self.stdout.write("there are no schedules")


def _line(schedule: Schedule) -> str:
    following = clock.stamp(schedule.next_run_at) if schedule.next_run_at else "never"
    last = clock.stamp(schedule.last_run_at) if schedule.last_run_at else "never"
    state = "enabled " if schedule.enabled else "disabled"
    when = f"{schedule.cron} {schedule.time_zone}"
    return f"{state} {schedule.name}  [{when}]  {schedule.task_name}  next {following}  last {last}"


def _summary(schedule: Schedule) -> dict[str, Any]:
    return {
        "name": schedule.name,
        "enabled": schedule.enabled,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "task_name": schedule.task_name,
        "params": schedule.params,
        "queue_name": schedule.queue_name,
        "priority": schedule.priority,
        "catch_up": schedule.catch_up,
        "jitter_sec": schedule.jitter_sec,
        "next_run_at": schedule.next_run_at,
        "upcoming": cron.upcoming(schedule, clock.now(), UPCOMING) if schedule.enabled else [],
        "last_run_at": schedule.last_run_at,
        "last_task_id": schedule.last_task_id,
        "last_error": schedule.last_error,
    }
