"""`manage.py absurd_schedules list|run|enable|disable`: schedules from the shell."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from tasks_app.engine import cron
from tasks_app.management.shell import USAGE, ShellCommand, actor
from tasks_app.models import Schedule
from tasks_app.operations.schedules import run_now, set_enabled
from tasks_app.postgresql import clock

UPCOMING = 5
SWITCHES = {"enable": True, "disable": False}


class Command(ShellCommand):
    help = (
        "list: every schedule, with its next run. run NAME: spawn its task now; its next run does not change. "
        "enable NAME, disable NAME: from now on. Schedules are created in the console. Exit codes: 0 ok, "
        "1 failed, 2 usage, 3 no such schedule, 75 Absurd is disabled."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("verb", choices=("list", "run", *SWITCHES))
        parser.add_argument("name", nargs="?", metavar="NAME")
        parser.add_argument("--reason", default="", help="why; it is recorded with the event")
        parser.add_argument("--json", action="store_true", help="write JSON")

    def act(self, options: dict[str, Any]) -> None:
        """Do it, and say what the schedule looks like afterwards."""
        verb, name = options["verb"], options["name"]
        if (verb == "list") != (name is None):
            raise CommandError("list takes no name" if name else f"name the schedule to {verb}", returncode=USAGE)
        if verb == "list":
            self._list(as_json=options["json"])
            return
        given = {"actor": actor(), "reason": options["reason"]}
        if verb == "run":
            task = run_now(name, **given)
            if options["json"]:
                self.write_json({"schedule": name, "task_id": task.task_id, "queue_name": task.queue_id})
            else:
                self.stdout.write(f"{name}: spawned {task.task_name} {task.task_id} into {task.queue_id}")
            return
        schedule = set_enabled(name, SWITCHES[verb], **given)
        if options["json"]:
            self.write_json(_summary(schedule))
        else:
            self.stdout.write(_line(schedule))

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
