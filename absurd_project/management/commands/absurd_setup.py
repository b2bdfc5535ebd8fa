"""`manage.py absurd_setup`: the schema, the operator's account and the API key; safe to run again."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser

from absurd_project import accounts
from tasks_app.backup import task as backup_task
from tasks_app.engine import system_state
from tasks_app.management.output import PrintingCommand
from tasks_app.models import Schedule
from tasks_app.monitoring import data_roots, queues
from tasks_app.operations import schedules

BACKUP_CRON = "17 18 * * *"
"""In UTC: the morning at the telescope, when most of the night's tasks have ended."""


class Command(PrintingCommand):
    """Prepares the database for use."""

    help = (
        "Migrate, store the initial state (ABSURD_ENABLED), create the operator account and an API key if missing, "
        "and in a new database the schedule of the daily backup. "
        "Exit codes: 0 done, 1 failed."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--new-password", action="store_true", help="give the operator a new random password")
        parser.add_argument(
            "--mark-roots",
            action="store_true",
            help="write a marker file into each data root that is mounted here, once for all hosts that share it",
        )
        parser.add_argument(
            "--mark-roots-only", action="store_true", help="the same and nothing else, on a host that only has workers"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        var = settings.ABSURD_VAR
        var.mkdir(parents=True, exist_ok=True)
        if options["mark_roots"] or options["mark_roots_only"]:
            self._mark_roots()
        if options["mark_roots_only"]:
            return
        data_roots.mark_own()
        call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
        if queues.missing_triggers():
            queues.recount()
            self.stdout.write(
                "the triggers that count tasks were missing: they were created again and all tasks were counted"
            )
        is_new = not Schedule.objects.exists() and not accounts.exist()
        system_state.initialise(enabled=system_state.initially_enabled())
        made = accounts.prepare(var, new_password=options["new_password"])
        if is_new:
            params = schedules.SaveScheduleParams(
                task_name=backup_task.NAME, cron=BACKUP_CRON, reason="made by absurd_setup"
            )
            schedules.save.act(backup_task.NAME, params, "absurd_setup")
            self.stdout.write(f"schedule {backup_task.NAME}: daily, into {settings.ABSURD_BACKUP_DIR}")
        if made.password:
            self.stdout.write(f"operator account: user {accounts.OPERATOR}, password {made.password}")
            self.stdout.write(f"  (shown once; kept in {accounts.password_file(var)})")
        if made.api_key:
            self.stdout.write(f"API key: in {accounts.api_key_file(var)}")

    def _mark_roots(self) -> None:
        results = data_roots.mark_all()
        for root, result in results.items():
            self.stdout.write(f"data root {root}: {result}")
        if "marked" not in results.values():
            raise CommandError(
                "no data root could be marked: mount them first, and check that this account may write there"
            )
