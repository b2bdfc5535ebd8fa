"""`manage.py absurd_monitor --interval 30`: four lines about the queue, repeated."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import DatabaseError, Error, connection

from tasks_app.management.arguments import number
from tasks_app.management.printing import rounds
from tasks_app.management.shell import UNHEALTHY, ShellCommand, refuse
from tasks_app.monitoring import health, queues, rates
from tasks_app.monitoring.workers import LIVE_STATES, recent_workers
from tasks_app.postgresql import clock

INTERVAL_SEC = 30.0


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One reading of a queue; values are None when the database does not answer."""

    at: datetime
    queue_name: str
    health: str
    message: str
    tasks_per_sec: float | None = None
    depth: int | None = None
    workers_up: int | None = None
    workers_known: int | None = None


class Command(ShellCommand):
    """Reads and changes nothing; continues while the database is down, and starts no server."""

    help = (
        "Print the queue's health, the tasks completed a second over the last minute, its pending tasks and how "
        "many of its workers are live, every --interval seconds; times are UTC. Exit codes: 0 ok, 2 usage; "
        "with --once also 5 unhealthy."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--queue-name", metavar="NAME", help=f"which queue (default: {settings.ABSURD_QUEUE_NAME})")
        add("--database-url", metavar="URL", help="use this database instead of ABSURD_DATABASE_URL")
        add("--interval", type=number(0.1), default=INTERVAL_SEC, metavar="SEC", help="(default: %(default)g)")
        add("--once", action="store_true", help="print one reading and exit")
        add("--json", action="store_true", help="write JSON, one document a line")

    def act(self, options: dict[str, Any]) -> None:
        if options["database_url"] not in (None, settings.ABSURD_DATABASE_URL):
            refuse("--database-url only works on the command line, where manage.py reads it first")
        name = options["queue_name"] or settings.ABSURD_QUEUE_NAME
        for _ in rounds(None if options["once"] else options["interval"]):
            reading = read(name)
            if options["json"]:
                self.write_json({**asdict(reading), "at": clock.stamp(reading.at)}, indent=None)
            else:
                for line in _lines(reading):
                    self.stdout.write(line)
            self.stdout.flush()
            if options["once"] and reading.health == "unhealthy":
                raise SystemExit(UNHEALTHY)


def read(name: str) -> Reading:
    """Take one reading of a queue, also while the database does not answer."""
    found = health.examine(name)
    try:
        if not found.database_answers:
            raise DatabaseError
        return _measured(name, found)
    except Error:
        connection.close()
        return Reading(at=datetime.now(UTC), queue_name=name, health=found.status, message=found.message)


def _measured(name: str, found: health.Health) -> Reading:
    finished = rates.finished()
    of_queue = finished.by_queue.get(name, rates.Finished()).throughput(finished.over_sec)
    reports = [each for each in recent_workers() if name in each.worker.queues and each.worker.stopped_at is None]
    silent_sec = health.threshold("workers_silent_sec")
    return Reading(
        at=clock.now(),
        queue_name=name,
        health=found.status,
        message=found.message,
        tasks_per_sec=of_queue["1m"].tasks_per_sec or 0.0,
        depth=queues.queue_stats([name])[0]["pending"],
        workers_up=sum(each.state in LIVE_STATES for each in reports),
        workers_known=sum(each.state in LIVE_STATES or each.heartbeat_age_sec < silent_sec for each in reports),
    )


def _lines(reading: Reading) -> list[str]:
    stamp = f"[{reading.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}]"
    if reading.depth is None or reading.tasks_per_sec is None:
        return [f"{stamp} Queue Health: {reading.health} ({reading.message})"]
    return [
        f"{stamp} Queue Health: {reading.health}",
        f"{stamp} Throughput: {reading.tasks_per_sec:.1f} tasks/sec",
        f"{stamp} Queue Depth: {reading.depth} tasks",
        f"{stamp} Workers: {reading.workers_up}/{reading.workers_known} active",
    ]
