"""`manage.py absurd_schedules list|run|enable|disable|delete`: schedules from the shell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks_app.engine import cron
from tasks_app.errors import ScheduleNotFound
from tasks_app.management.operations import Target, TargetCommand
from tasks_app.models import Schedule, Task
from tasks_app.postgresql import clock


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
        schedule = Schedule.objects.filter(name=text).first()
        if schedule is None:
            raise ScheduleNotFound(text)
        return Target(key=text, label=text, identity={"schedule": text}, row=schedule)

    def details_of(self, result: Any) -> Mapping[str, Any]:
        if isinstance(result, Task):
            return {"task_id": result.task_id, "queue_name": result.queue_id}
        return _shape(result) if isinstance(result, Schedule) else {}

    def read_list(self, options: dict[str, Any]) -> None:
        found = list(Schedule.objects.order_by("name"))
        self.show(options, lambda: [_shape(schedule) for schedule in found], _lines(found))


def _lines(schedules: Sequence[Schedule]) -> Iterator[str]:
    for each in schedules:
        state = "enabled " if each.enabled else "disabled"
        following, last = (clock.stamp(at) if at else "never" for at in (each.next_run_at, each.last_run_at))
        when = f"{each.cron} {each.time_zone}"
        yield f"{state} {each.name}  [{when}]  {each.task_name}  next {following}  last {last}"
        if each.last_error:
            yield f"  last refused: {each.last_error}"
    if not schedules:
        yield "there are no schedules"


def _shape(schedule: Schedule) -> dict[str, Any]:
    from tasks_app.api.serializers import ScheduleDetailSerializer  # slow to import

    upcoming = cron.upcoming(schedule, clock.now()) if schedule.enabled else []
    schedule.upcoming = upcoming  # type: ignore[attr-defined]
    return dict(ScheduleDetailSerializer(schedule).data)
