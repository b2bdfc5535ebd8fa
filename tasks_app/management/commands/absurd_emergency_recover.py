"""`manage.py absurd_emergency_recover`: the way back from an emergency stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser

from tasks_app.formats import count
from tasks_app.formats import moment as written
from tasks_app.management.arguments import ago, moment
from tasks_app.management.printing import bar
from tasks_app.management.selection import add_conditions, has_conditions, selected
from tasks_app.management.shell import ShellCommand, actor, refuse
from tasks_app.models import Task
from tasks_app.models.querysets import TaskQuerySet
from tasks_app.operations.emergency import RecoverCounts, cancelled_by_stop, recover, recover_preview
from tasks_app.operations.freeze import current

TYPED_ABOVE = 100


class Command(ShellCommand):
    help = (
        "Resume paused workers and thaw everything. With --retry-failed also give failed tasks that fulfil "
        "the conditions another go, their retries counted from 0; with --retry-cancelled those that the emergency stop "
        "cancelled. Repair the cause first. Exit codes: 0 ok, 1 not confirmed, 2 usage."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--retry-failed", action="store_true", help="retry failed tasks, all or those that fulfil the conditions")
        add("--retry-cancelled", action="store_true", help="retry tasks that the emergency stop cancelled")
        add(
            "--since",
            type=moment,
            metavar="MOMENT",
            help="with --retry-cancelled: of stops since then (default: the freeze)",
        )
        add_conditions(parser, status_help="only failed is allowed")
        add("--reason", default="", help="what was repaired; recorded with the events")
        add("--dry-run", action="store_true", help="only show what would be done")
        add("--yes", action="store_true", help="do not ask for confirmation")
        add("--json", action="store_true", help="write JSON")

    def act(self, options: dict[str, Any]) -> None:
        """Show the plan, ask, recover."""
        if has_conditions(options) and not options["retry_failed"]:
            refuse("the conditions choose failed tasks: give --retry-failed with them")
        if set(options["status"]) - {"failed"}:
            refuse("--status: only failed tasks are chosen by conditions")
        failed = selected({**options, "status": ["failed"]}) if options["retry_failed"] else Task.objects.none()
        cancelled = self._cancelled(options)
        there = recover_preview(failed, cancelled)
        if options["dry_run"] and options["json"]:
            self.write_json({"dry_run": True, **asdict(there)})
            return
        if not options["json"]:
            self._show(options, there)
        if options["dry_run"]:
            self.stdout.write("(dry run: nothing was done)")
            return
        retried = there.failed + there.cancelled
        self.confirm("Continue?", options, typed=str(retried) if retried > TYPED_ABOVE else "")
        self._recover(failed, cancelled, options)

    def _cancelled(self, options: dict[str, Any]) -> list[UUID]:
        if not options["retry_cancelled"]:
            return []
        frozen = current()
        since: datetime | None = None if frozen is None else frozen.frozen_at
        if options["since"] is not None:
            since = ago(options["since"])
        if since is None:
            refuse("nothing is frozen: give the time of the emergency stop with --since")
        return cancelled_by_stop(since)

    def _show(self, options: dict[str, Any], there: RecoverCounts) -> None:
        self.stdout.write("RECOVERY from an emergency stop")
        for number, line in enumerate(_plan(options, there), start=1):
            self.stdout.write(f"  {number}. {line}")

    def _recover(self, failed: TaskQuerySet, cancelled: list[UUID], options: dict[str, Any]) -> None:
        with bar("retrying", failed.count() + len(cancelled)) as tell:
            done = recover(failed, cancelled, actor=actor(), reason=options["reason"], tell=tell)
        if options["json"]:
            self.write_json({"dry_run": False, **asdict(done)})
        else:
            self.stdout.write(_told(done))


def _plan(options: dict[str, Any], there: RecoverCounts) -> Iterator[str]:
    if options["retry_failed"]:
        yield f"RETRY {count(there.failed, 'failed task')}, with retries counted from 0."
    else:
        yield "Failed tasks stay as they are (--retry-failed would retry them)."
    if options["retry_cancelled"]:
        yield f"RETRY {count(there.cancelled, 'task')} that the emergency stop cancelled."
    else:
        yield "Cancelled tasks stay as they are (--retry-cancelled would retry those that the stop cancelled)."
    paused = count(there.workers, "paused worker")
    yield f"RESUME {paused}; drained ones are started with make up or manage.py runworker."
    frozen = current()
    if frozen is None:
        yield "Nothing is frozen."
    else:
        by = f"{frozen.frozen_by} at {written(frozen.frozen_at)}: {frozen.reason}"
        yield f"THAW: tasks start at once. Frozen by {by}"


def _told(done: RecoverCounts) -> str:
    parts = [
        *(
            [f"{count(done.failed + done.cancelled, 'task')} returned to the queue"]
            if done.failed + done.cancelled
            else []
        ),
        *([f"{count(done.workers, 'worker')} ordered to resume"] if done.workers else []),
        "thawed: tasks are claimed again" if done.thawed else "nothing was frozen",
        *([f"{done.refused} of these refused, see absurd_tasks"] if done.refused else []),
    ]
    return "; ".join(parts)
