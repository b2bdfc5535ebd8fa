"""`manage.py absurd_workers list|show|pause|drain|resume|recycle`: workers, and operations on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from tasks_app.formats import duration, moment
from tasks_app.management.operations import Target, TargetCommand
from tasks_app.management.printing import table
from tasks_app.management.selection import find_worker
from tasks_app.models import Worker
from tasks_app.monitoring.workers import WorkerReport, recent_workers, report_on
from tasks_app.postgresql import clock

COLUMNS = ("WORKER", "STATE", "HOST", "PID", "SLOTS", "QUEUES", "HEARTBEAT", "ID")
NO_WORKER = "no worker has reported; start one with manage.py runworker"


class Command(TargetCommand):
    help = (
        "list: workers that reported within a day. show WORKER: one with its tasks. pause, drain, resume, recycle: "
        "give workers an order, followed within seconds. Exit codes: 0 ok, 1 not confirmed, 2 usage, 3 no "
        "such worker, 4 its state does not allow it."
    )
    target_kind = "worker"
    metavar = "WORKER"
    target_help = "a --worker-id, an id, or its first digits"

    def add_readings(self, subparsers: Any) -> None:
        listing = subparsers.add_parser("list", allow_abbrev=False, help="workers that reported within a day")
        listing.add_argument("--queue", metavar="NAME", help="only those that serve this queue")
        listing.add_argument("--state", metavar="STATE", help="active, idle, draining, paused, stale, lost or stopped")
        showing = subparsers.add_parser("show", allow_abbrev=False, help="one worker with its tasks")
        showing.add_argument("worker", metavar="WORKER", help="its --worker-id, its id, or the first digits of that")

    def add_selection(self, parser: CommandParser) -> None:
        parser.add_argument("--all", action="store_true", help="every worker that is up")
        parser.add_argument("--queue", metavar="NAME", help="every worker that is up and serves this queue")

    def find(self, text: str) -> Target:
        return _target(find_worker(text))

    def selected(self, options: dict[str, Any]) -> list[Target] | None:
        if not options["all"] and options["queue"] is None:
            return None
        found = [report.worker for report in recent_workers() if report.state not in ("lost", "stopped")]
        return [_target(each) for each in found if options["queue"] in (None, *each.queues)]

    def read_list(self, options: dict[str, Any]) -> None:
        found = [
            report
            for report in recent_workers()
            if (options["queue"] is None or options["queue"] in report.worker.queues)
            and options["state"] in (None, report.state)
        ]
        lines = table(COLUMNS, map(_row, found), right=("PID",)) if found else [NO_WORKER]
        self.show(options, lambda: {"workers": _shapes(found)}, lines)

    def read_show(self, options: dict[str, Any]) -> None:
        (report,) = report_on([find_worker(options["worker"])], clock.now())
        self.show(options, lambda: _shapes([report])[0], _lines(report))


def _target(worker: Worker) -> Target:
    identity = {"worker_id": worker.label, "boot_id": worker.pk}
    return Target(key=worker.pk, label=f"{worker.label} {worker.pk}", identity=identity, row=worker)


def _row(report: WorkerReport) -> tuple[object, ...]:
    worker = report.worker
    return (
        worker.label,
        report.state,
        worker.host,
        worker.pid,
        f"{len(report.tasks)}/{worker.concurrency}",
        ",".join(worker.queues),
        f"{duration(report.heartbeat_age_sec)} ago",
        worker.pk,
    )


def _lines(report: WorkerReport) -> Iterator[str]:
    worker = report.worker
    yield f"{worker.label} {worker.pk}: {report.state}"
    yield f"  host {worker.host}, pid {worker.pid}, version {worker.version or 'unknown'}"
    yield f"  serves {', '.join(worker.queues)}; {len(report.tasks)} of {worker.concurrency} slots taken"
    yield f"  started {moment(worker.started_at)}, last report {duration(report.heartbeat_age_sec)} ago"
    if worker.ordered and worker.ordered_at:
        by = f"by {worker.ordered_by} at {moment(worker.ordered_at)}"
        yield f"  ordered to {worker.ordered} {by}: {worker.order_reason or 'no reason given'}"
    for task in report.tasks:
        yield f"  runs {task.task_name} {task.task_id}, attempt {task.claim_epoch}"


def _shapes(reports: list[WorkerReport]) -> list[dict[str, Any]]:
    from tasks_app.api.serializers import WorkerSerializer  # here, because it loads the API's libraries

    return list(WorkerSerializer(reports, many=True).data)
