"""`manage.py absurd_tasks list|show|logs|explain`: look at tasks; nothing is changed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models.functions import Left

from tasks_app.engine import lookup
from tasks_app.management import watching
from tasks_app.management.arguments import whole
from tasks_app.management.printing import table
from tasks_app.management.selection import add_conditions, find_task_id, selected
from tasks_app.management.shell import NOT_FOUND, ShellCommand
from tasks_app.management.task_output import (
    LISTED_COLUMNS,
    detail_of,
    histories_of,
    history_shapes,
    lines_of,
    listed_row,
    page_of,
    shape_of,
    summaries_of,
)
from tasks_app.models import Attempt, Task
from tasks_app.monitoring.explain.explanation import explain_id

LISTED, LISTED_MOST = 20, 10_000
ERROR_CHARS = 300
EVENTS, EVENTS_MOST = 50, 10_000
LINES, LINES_MOST = 200, 1_000_000


class Command(ShellCommand):
    help = (
        "list: tasks, newest first. show ID: a task with its attempts and events. logs ID: what an attempt wrote. "
        "explain ID: why it is not running, or how it ended. Exit codes: 0 ok, 2 usage, 3 no such task."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|show|logs|explain")
        listing = verbs.add_parser("list", allow_abbrev=False, help="tasks, newest first")
        add_conditions(listing, status_help="stored statuses, repeated or separated by commas")
        listing.add_argument(
            "--limit", type=whole(1, LISTED_MOST), default=LISTED, metavar="N", help="how many (default: %(default)s)"
        )
        showing = verbs.add_parser("show", allow_abbrev=False, help="a task with its attempts and events")
        showing.add_argument(
            "--events",
            type=whole(0, EVENTS_MOST),
            default=EVENTS,
            metavar="N",
            help="the newest (default: %(default)s)",
        )
        logs = verbs.add_parser("logs", allow_abbrev=False, help="what an attempt wrote")
        logs.add_argument("--attempt", type=whole(1, 10**6), metavar="N", help="which (default: the last)")
        logs.add_argument(
            "--lines", type=whole(1, LINES_MOST), default=LINES, metavar="N", help="the last (default: %(default)s)"
        )
        logs.add_argument("-f", "--follow", action="store_true", help="keep printing until the task has finished")
        explaining = verbs.add_parser("explain", allow_abbrev=False, help="why a task is not running")
        for verb in (showing, logs, explaining):
            verb.add_argument("task_id", metavar="ID", help="a task id, or the first digits of one")
        for verb in (listing, showing, explaining):
            verb.add_argument("--json", action="store_true", help="write JSON in the API's shapes")

    def act(self, options: dict[str, Any]) -> None:
        """Do what the verb says."""
        getattr(self, f"_{options['verb']}")(options)

    def _list(self, options: dict[str, Any]) -> None:
        rows = selected(options).select_related("worker", "run").order_by("-id")
        rows = rows.defer("result", "error").annotate(error_head=Left("error", ERROR_CHARS))
        found = list(rows[: options["limit"] + 1])
        more, found = len(found) > options["limit"], found[: options["limit"]]
        if options["json"]:
            self.write_json({"tasks": summaries_of(found), "more": more})
            return
        if not found:
            self.stdout.write("no matching task")
            return
        for line in table(LISTED_COLUMNS, map(listed_row, found), right=("PRIO", "TRY")):
            self.stdout.write(line)
        if more:
            self.stderr.write(f"and more; --limit shows up to {LISTED_MOST:,}")

    def _show(self, options: dict[str, Any]) -> None:
        task = lookup.find(find_task_id(options["task_id"]))
        attempts, events = histories_of(task, options["events"])
        if options["json"]:
            self.write_json({"task": detail_of(task), **history_shapes(attempts, events)})
            return
        for line in page_of(task, attempts, events):
            self.stdout.write(line)

    def _explain(self, options: dict[str, Any]) -> None:
        explanation = explain_id(find_task_id(options["task_id"]))
        if options["json"]:
            self.write_json(shape_of(explanation))
        else:
            self.stdout.write("\n".join(lines_of(explanation)))

    def _logs(self, options: dict[str, Any]) -> None:
        task = lookup.find(find_task_id(options["task_id"]))
        attempt = self._attempt_of(task, options)
        while attempt is not None:
            self.stderr.write(f"attempt {attempt.number} on {attempt.worker.host if attempt.worker else 'nobody'}")
            self._log_of(attempt, options)
            if not options["follow"] or options["attempt"]:
                return
            attempt = watching.following_attempt(task, attempt.number)

    def _attempt_of(self, task: Task, options: dict[str, Any]) -> Attempt | None:
        attempts, _ = histories_of(task, 0)
        wanted = [each for each in attempts if options["attempt"] in (None, each.number)]
        if wanted:
            return wanted[-1]
        if options["attempt"] is None and options["follow"]:
            return watching.following_attempt(task, 0)
        which = f"no attempt {options['attempt']}" if options["attempt"] else "no attempt yet"
        raise CommandError(f"task {task.task_id} has {which}", returncode=NOT_FOUND)

    def _log_of(self, attempt: Attempt, options: dict[str, Any]) -> None:
        path = watching.readable(attempt)
        if path is None:
            self._log_from_database(attempt)
            return
        text, position = watching.last_lines(path, options["lines"])
        self.stdout.write(text, ending="")
        for new in watching.new_text(path, position, attempt) if options["follow"] else ():
            self.stdout.write(new, ending="")
            self.stdout.flush()

    def _log_from_database(self, attempt: Attempt) -> None:
        where = f"{attempt.log_path} on {attempt.worker.host if attempt.worker else 'its host'}"
        self.stderr.write(
            f"the log file is not readable here ({where}); these are the last lines stored in the database"
        )
        if attempt.log_tail:
            self.stdout.write(attempt.log_tail)
