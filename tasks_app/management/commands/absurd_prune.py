"""`manage.py absurd_prune`: archive old tasks now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from tasks_app.formats import count
from tasks_app.maintenance.archiving import BATCH
from tasks_app.maintenance.retention import Policy
from tasks_app.management.arguments import whole
from tasks_app.management.printing import bar, table
from tasks_app.management.shell import ShellCommand, actor
from tasks_app.operations.prune import Pruned, preview, prune

BATCH_MOST = 10_000
DAYS_MOST = 36_500


class Command(ShellCommand):
    help = (
        "Move finished tasks that are older than the policy (ABSURD_RETENTION_DAYS, ABSURD_FAILED_RETENTION_DAYS) with "
        "their attempts and events to the archive, where the API and the console still find them; then delete old "
        "idempotency keys, workers that ended long ago, and archived tasks after ABSURD_ARCHIVE_DAYS. The tasks of a "
        "run move together. Workers and web processes do the same in small batches. Exit codes: 0 ok, "
        "2 usage, 3 no such queue."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--dry-run", action="store_true", help="only show what would be archived")
        older = "archive tasks that finished more than this long ago, failures too, instead of by the policy"
        add("--older-than-days", type=whole(0, DAYS_MOST), metavar="N", help=older)
        add("--queue", metavar="NAME", help="archive only tasks of this queue, and runs whose tasks are all in it")
        batch = whole(1, BATCH_MOST)
        add("--batch", type=batch, default=BATCH, metavar="N", help="tasks at once (default: %(default)s)")
        add("--json", action="store_true", help="write the summary as JSON")

    def act(self, options: dict[str, Any]) -> None:
        policy = Policy.configured().narrowed(older_than_days=options["older_than_days"], queue_name=options["queue"])
        started_at = time.monotonic()
        found = preview(policy)
        if not options["dry_run"]:
            with bar("archiving", found.moved.total()) as advance:
                found = prune(policy, actor=actor(), batch=options["batch"], on_progress=advance)
        took_sec = round(time.monotonic() - started_at, 3)
        content = {"dry_run": options["dry_run"], **_summary(policy, found), "took_sec": took_sec}
        lines = _lines(policy, found, "would be" if options["dry_run"] else "were", took_sec)
        self.show(options, content, lines)


def _lines(policy: Policy, found: Pruned, were: str, took_sec: float) -> Iterator[str]:
    if found.moved:
        rows = [(*key, f"{tasks:,}") for key, tasks in sorted(found.moved.items())]
        yield from table(("QUEUE", "STATUS", "TASKS"), rows, right=("TASKS",))
    failures = "" if policy.failed_days == policy.task_days else f", failures {policy.failed_days} d"
    age = f"{policy.task_days} d{failures}"
    yield f"{found.moved.total():,} tasks {were} archived (finished more than {age} ago), in {took_sec:.1f} s"
    gone = found.forgotten
    if gone.keys or gone.tasks or gone.workers:
        counts = f"{count(gone.keys, 'idempotency key')}, {count(gone.tasks, 'archived task')} and "
        yield f"{counts}{count(gone.workers, 'worker')} {were} deleted"


def _summary(policy: Policy, found: Pruned) -> dict[str, Any]:
    return {
        "task_days": policy.task_days,
        "failed_days": policy.failed_days,
        "archive_days": policy.archive_days,
        "key_days": policy.key_days,
        "queue": policy.queue_name,
        "archived": found.moved.total(),
        "by_status": [
            {"queue_name": queue_name, "status": status, "tasks": tasks}
            for (queue_name, status), tasks in sorted(found.moved.items())
        ],
        "forgotten": asdict(found.forgotten),
    }
