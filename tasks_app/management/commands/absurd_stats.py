"""`manage.py absurd_stats [--watch SEC]`: counts of tasks and throughput of each queue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from tasks_app.errors import QueueNotFound
from tasks_app.formats import duration, moment
from tasks_app.management.arguments import number
from tasks_app.management.printing import rounds, table
from tasks_app.management.shell import ShellCommand
from tasks_app.models import TaskStatus
from tasks_app.monitoring import metrics
from tasks_app.monitoring.metrics import Metrics, QueueMetrics
from tasks_app.postgresql import clock

COLUMNS = ("QUEUE", *(status.upper() for status in TaskStatus.values), "TOTAL", "OLDEST", "PER MIN", "NOTE")
CLEAR = "\x1b[H\x1b[2J"


class Command(ShellCommand):
    help = (
        "Count the tasks of each queue by status, with the age of the oldest claimable one and the tasks completed a "
        "minute. Exit codes: 0 ok, 2 usage, 3 no such queue."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--queue", metavar="NAME", help="only this queue")
        parser.add_argument("--watch", type=number(0.1), metavar="SEC", help="print again every SEC seconds")
        parser.add_argument("--json", action="store_true", help="write JSON; with --watch one document a line")

    def act(self, options: dict[str, Any]) -> None:
        for _ in rounds(options["watch"]):
            found = metrics.snapshot(fresh=True)
            queues = [each for each in found.queues if options["queue"] in (None, each.queue_name)]
            if not queues:
                raise QueueNotFound(options["queue"])
            if options["json"]:
                self.write_json(_shape(found, queues), indent=None if options["watch"] else 2)
            else:
                if options["watch"] and self.stdout.isatty():
                    self.stdout.write_raw(CLEAR)
                self.stdout.write("\n".join(_lines(found, queues)))
            self.stdout.flush()


def _lines(found: Metrics, queues: list[QueueMetrics]) -> Iterator[str]:
    yield f"{moment(found.at)}{', everything is frozen' if found.frozen else ''}"
    yield from table(COLUMNS, map(_row, queues), right=COLUMNS[1:-1])
    states = ", ".join(f"{n} {state}" for state, n in found.workers.states.items() if n)
    yield f"workers: {states or 'none'}; {found.workers.slots_taken} of {found.workers.slots} slots taken"


def _row(queue: QueueMetrics) -> tuple[object, ...]:
    tasks, per_sec = queue.tasks, queue.throughput["1m"].tasks_per_sec
    return (
        queue.queue_name,
        *(f"{tasks[status]:,}" for status in TaskStatus.values),  # type: ignore[literal-required]
        f"{tasks['total']:,}",
        None if queue.oldest_pending_sec is None else duration(queue.oldest_pending_sec),
        None if per_sec is None else f"{60 * per_sec:.1f}",
        "paused" if queue.paused else "",
    )


def _shape(found: Metrics, queues: list[QueueMetrics]) -> dict[str, Any]:
    return {
        "at": clock.stamp(found.at),
        "frozen": found.frozen,
        "queues": [
            {
                **each.tasks,
                "paused": each.paused,
                "oldest_pending_sec": each.oldest_pending_sec,
                "throughput": {name: asdict(value) for name, value in each.throughput.items()},
            }
            for each in queues
        ],
        "workers": asdict(found.workers),
    }
