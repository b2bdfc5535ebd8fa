"""`manage.py absurd_prune`: archive old tasks now."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import IO, Any, cast

from django.core.management.base import CommandParser
from rich import box
from rich.table import Table

from tasks_app.maintenance.archiving import BATCH
from tasks_app.maintenance.retention import Policy
from tasks_app.management.arguments import whole
from tasks_app.management.printing import SafeConsole, bar
from tasks_app.management.shell import ShellCommand, actor
from tasks_app.operations.prune import Pruned, preview, prune

BATCH_MOST = 10_000
DAYS_MOST = 36_500


class Command(ShellCommand):
    """Shows what the policy says, and does it."""

    help = (
        "Move finished tasks that are older than the policy (ABSURD_RETENTION_DAYS, ABSURD_FAILED_RETENTION_DAYS) with "
        "their attempts and events to the archive, where the API and the console still find them; then forget old "
        "idempotency keys, workers that ended long ago, and archived tasks after ABSURD_ARCHIVE_DAYS. The tasks of a "
        "run move together. Workers and web processes do the same in small batches. Exit codes: 0 ok, "
        "2 usage, 3 no such queue."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only show what would be archived")
        parser.add_argument(
            "--older-than-days",
            type=whole(0, DAYS_MOST),
            metavar="N",
            help="archive tasks that finished more than this long ago, failures too, instead of by the policy",
        )
        parser.add_argument(
            "--queue", metavar="NAME", help="archive only tasks of this queue, and runs whose tasks are all in it"
        )
        parser.add_argument(
            "--batch",
            type=whole(1, BATCH_MOST),
            default=BATCH,
            metavar="N",
            help="tasks at once (default %(default)s)",
        )
        parser.add_argument("--json", action="store_true", help="print the summary as JSON")

    def act(self, options: dict[str, Any]) -> None:
        """Show what is due, move it, tell."""
        policy = Policy.configured().narrowed(older_than_days=options["older_than_days"], queue_name=options["queue"])
        began_at = time.monotonic()
        found = preview(policy)
        if not options["dry_run"]:
            with bar("archiving", found.moved.total()) as tell:
                found = prune(policy, actor=actor(), batch=options["batch"], tell=tell)
        took_sec = time.monotonic() - began_at
        if options["json"]:
            self.write_json(_summary(policy, found, dry_run=options["dry_run"], took_sec=took_sec))
        else:
            self._print(policy, found, dry_run=options["dry_run"], took_sec=took_sec)

    def _print(self, policy: Policy, found: Pruned, *, dry_run: bool, took_sec: float) -> None:
        screen = SafeConsole(cast(IO[str], self.stdout))
        verb = "would be" if dry_run else "were"
        total = found.moved.total()
        if total:
            table = Table("queue", "status", box=box.SIMPLE)
            table.add_column("would move" if dry_run else "moved", justify="right")
            for (queue_name, status), count in sorted(found.moved.items()):
                table.add_row(queue_name, status, f"{count:,}")
            screen.print(table)
        age = f"{policy.task_days} d" + (
            "" if policy.failed_days == policy.task_days else f", failures {policy.failed_days} d"
        )
        screen.print(f"{total:,} tasks {verb} archived (finished more than {age} ago), in {took_sec:.1f} s")
        gone = found.forgotten
        if gone.keys or gone.tasks or gone.workers:
            told = f"{gone.keys:,} idempotency keys, {gone.tasks:,} archived tasks and {gone.workers:,} workers"
            screen.print(f"{told} {verb} forgotten")


def _summary(policy: Policy, found: Pruned, *, dry_run: bool, took_sec: float) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "task_days": policy.task_days,
        "failed_days": policy.failed_days,
        "archive_days": policy.archive_days,
        "key_days": policy.key_days,
        "queue": policy.queue_name,
        "archived": found.moved.total(),
        "by_status": [
            {"queue_name": queue_name, "status": status, "tasks": count}
            for (queue_name, status), count in sorted(found.moved.items())
        ],
        "forgotten": asdict(found.forgotten),
        "took_sec": round(took_sec, 3),
    }
