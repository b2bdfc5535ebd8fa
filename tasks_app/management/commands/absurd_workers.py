"""`manage.py absurd_workers list|show|pause|drain|resume|recycle`: who works, and orders to them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from tasks_app.errors import AbsurdError
from tasks_app.formats import count, duration, moment
from tasks_app.management.printing import table
from tasks_app.management.selection import find_worker
from tasks_app.management.shell import ShellCommand, actor, exit_code_of, refuse
from tasks_app.models import Worker, WorkerOrder
from tasks_app.monitoring.workers import WorkerReport, recent_workers, report_on
from tasks_app.operations.workers import RESUME, order_worker
from tasks_app.postgresql import clock

ORDERS = {"pause": WorkerOrder.PAUSE, "drain": WorkerOrder.DRAIN, "resume": RESUME, "recycle": WorkerOrder.RECYCLE}
MEANINGS = {
    "pause": "claim nothing until resumed; running tasks continue",
    "drain": "claim nothing, finish running tasks, exit",
    "resume": "claim again",
    "recycle": "finish running tasks, then restart",
}
NEED_REASON = ("pause", "drain")
COLUMNS = ("WORKER", "STATE", "HOST", "PID", "SLOTS", "QUEUES", "HEARTBEAT", "ID")


class Command(ShellCommand):
    help = (
        "list: workers that reported within a day. show WORKER: one with its tasks. pause, drain, resume, recycle: "
        "give workers an order; they follow it within seconds. Exit codes: 0 ok, 1 not confirmed, 2 usage, 3 no such "
        "worker, 4 it refuses the order."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="|".join(("list", "show", *ORDERS)))
        listing = verbs.add_parser("list", allow_abbrev=False, help="workers that reported within a day")
        listing.add_argument("--queue", metavar="NAME", help="only those that serve this queue")
        listing.add_argument("--state", metavar="STATE", help="active, idle, draining, paused, stale, lost or stopped")
        showing = verbs.add_parser("show", allow_abbrev=False, help="one worker with its tasks")
        showing.add_argument("worker", metavar="WORKER", help="its --worker-id, its id, or the first digits of that")
        for verb, meaning in MEANINGS.items():
            self._add_order(verbs.add_parser(verb, allow_abbrev=False, help=meaning), needs_reason=verb in NEED_REASON)
        for each in verbs.choices.values():
            each.add_argument("--json", action="store_true", help="write JSON")

    def _add_order(self, parser: CommandParser, *, needs_reason: bool) -> None:
        parser.add_argument("workers", nargs="*", metavar="WORKER", help="a --worker-id, an id, or its first digits")
        parser.add_argument("--all", action="store_true", help="every live worker")
        parser.add_argument("--queue", metavar="NAME", help="every live worker that serves this queue")
        parser.add_argument("--reason", default="", required=needs_reason, help="why; it is recorded with the event")
        parser.add_argument("--dry-run", action="store_true", help="only show the workers that would get the order")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def act(self, options: dict[str, Any]) -> None:
        """Do what the verb says."""
        if options["verb"] == "list":
            self._list(options)
        elif options["verb"] == "show":
            self._show(find_worker(options["worker"]), as_json=options["json"])
        else:
            self._order(options)

    def _list(self, options: dict[str, Any]) -> None:
        found = [
            report
            for report in recent_workers()
            if (options["queue"] is None or options["queue"] in report.worker.queues)
            and options["state"] in (None, report.state)
        ]
        if options["json"]:
            self.write_json({"workers": _shapes(found)})
            return
        if not found:
            self.stdout.write("no worker has reported; start one with manage.py runworker")
        for line in table(COLUMNS, map(_row, found), right=("PID",)) if found else ():
            self.stdout.write(line)

    def _show(self, worker: Worker, *, as_json: bool) -> None:
        (report,) = report_on([worker], clock.now())
        if as_json:
            self.write_json(_shapes([report])[0])
            return
        self.stdout.write(f"{worker.label} {worker.pk}: {report.state}")
        for line in _lines(report):
            self.stdout.write(f"  {line}")

    def _order(self, options: dict[str, Any]) -> None:
        verb, by_condition = options["verb"], options["all"] or options["queue"] is not None
        if bool(options["workers"]) == by_condition:
            refuse(f"name the worker to {verb}, or --all, or --queue NAME")
        workers = _up(options["queue"]) if by_condition else [find_worker(text) for text in options["workers"]]
        if by_condition and not options["dry_run"]:
            self.confirm(f"{verb.capitalize()} {count(len(workers), 'worker')} ({MEANINGS[verb]})?", options)
        refused = {}
        for worker in () if options["dry_run"] else workers:
            try:
                order_worker(worker.pk, ORDERS[verb], actor=actor(), reason=options["reason"])
            except AbsurdError as error:
                refused[worker.pk] = error
        self._tell(workers, refused, options)

    def _tell(self, workers: list[Worker], refused: dict[Any, AbsurdError], options: dict[str, Any]) -> None:
        verb, note = options["verb"], " (dry run: nothing was done)" if options["dry_run"] else ""
        told = [worker for worker in workers if worker.pk not in refused]
        if options["json"]:
            ids = [{"worker_id": worker.label, "boot_id": worker.pk} for worker in told]
            faults = [{"boot_id": pk, "code": each.code, "message": str(each)} for pk, each in refused.items()]
            self.write_json({"order": verb, "dry_run": options["dry_run"], "told": ids, "refused": faults})
        else:
            for worker in told:
                self.stdout.write(f"{worker.label} {worker.pk}: {'would be ' if note else ''}ordered to {verb}{note}")
            if not workers:
                self.stdout.write("no worker is live")
        if refused:
            first = next(iter(refused.values()))
            message = str(first) if len(refused) == 1 else f"{len(refused)} workers refuse the order: {first}"
            raise CommandError(message, returncode=exit_code_of(first))


def _up(queue: str | None) -> list[Worker]:
    found = [report.worker for report in recent_workers() if report.state not in ("lost", "stopped")]
    return [worker for worker in found if queue is None or queue in worker.queues]


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


def _lines(report: WorkerReport) -> list[str]:
    worker = report.worker
    lines = [
        f"host {worker.host}, pid {worker.pid}, version {worker.version or 'unknown'}",
        f"serves {', '.join(worker.queues)}; {len(report.tasks)} of {worker.concurrency} slots taken",
        f"started {moment(worker.started_at)}, last report {duration(report.heartbeat_age_sec)} ago",
    ]
    if worker.ordered and worker.ordered_at:
        by = f"by {worker.ordered_by} at {moment(worker.ordered_at)}"
        lines.append(f"ordered to {worker.ordered} {by}: {worker.order_reason or 'no reason given'}")
    lines += [f"runs {task.task_name} {task.task_id}, attempt {task.claim_epoch}" for task in report.tasks]
    return lines


def _shapes(reports: list[WorkerReport]) -> list[dict[str, Any]]:
    from tasks_app.api.system_serializers import WorkerSerializer  # here, because it loads the API's libraries

    return list(WorkerSerializer(reports, many=True).data)
