"""`manage.py absurd_import`: tasks of the former system."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from tasks_app.maintenance.old_system import Imported, Wish, take_over
from tasks_app.management.printing import percent_bar
from tasks_app.management.shell import DRY_RUN, ShellCommand, actor


class Command(ShellCommand):
    help = (
        "Take over the tasks of the former system from its database (absurd.tasks, or absurd.t_tasks of the older "
        "layout), which is only read. Finished tasks go into the archive under their ids, where API and console find "
        "them; open ones are left, or with --spawn-open spawned here, each once. Repeated, it takes what is new. "
        "Exit codes: 0 ok, 2 usage or a database that cannot be read."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("url", metavar="URL", help="postgresql://user:password@host:5432/name of the former database")
        add("--queue", action="append", default=[], metavar="NAME", help="only tasks of this queue; may be repeated")
        spawn = "also spawn pending and claimed tasks whose names are known here; stop the former system first"
        add("--spawn-open", action="store_true", help=spawn)
        add("--dry-run", action="store_true", help="only show what would be taken over")
        add("--json", action="store_true", help="write the summary as JSON")

    def act(self, options: dict[str, Any]) -> None:
        wish = Wish(
            url=options["url"], queues=options["queue"], spawn_open=options["spawn_open"],
            dry_run=options["dry_run"], actor=actor(),
        )  # fmt: skip
        started_at = time.monotonic()
        with percent_bar("import") as on_progress:
            found = take_over(wish, lambda done, total: on_progress(done / total, f"{done:,} of {total:,} tasks"))
        took_sec = round(time.monotonic() - started_at, 3)
        content = {
            "dry_run": wish.dry_run,
            "table": found.table,
            "tasks": found.tasks,
            "archived": dict(found.archived),
            "spawned": found.spawned,
            "known": found.known,
            "open": found.open,
            "refused": dict(found.refused),
            "examples": found.examples,
            "took_sec": took_sec,
        }
        self.show(options, content, _lines(found, DRY_RUN if wish.dry_run else "", took_sec))


def _lines(found: Imported, dry_run: str, took_sec: float) -> Iterator[str]:
    states = ", ".join(f"{count:,} {status}" for status, count in sorted(found.archived.items())) or "none"
    yield f"{found.table}: {found.tasks:,} tasks read in {took_sec:.1f} s{dry_run}"
    others = f"spawned: {found.spawned:,}; known from before: {found.known:,}; left open: {found.open:,}"
    yield f"archived: {states}; {others}"
    yield from (f"refused: {count:,}, because {reason}" for reason, count in found.refused.most_common())
    yield from (f"  {example}" for example in found.examples)
