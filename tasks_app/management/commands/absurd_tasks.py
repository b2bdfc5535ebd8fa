"""`manage.py absurd_tasks list|show|logs|explain`: read tasks; nothing is changed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models.functions import Left

from tasks_app.engine import lookup
from tasks_app.errors import FilesBusy
from tasks_app.feed import logs
from tasks_app.files.remote import NotFetched
from tasks_app.management import task_output, watching
from tasks_app.management.arguments import whole
from tasks_app.management.commands import absurd_explain
from tasks_app.management.printing import table
from tasks_app.management.selection import add_conditions, find_task_id, selected
from tasks_app.management.shell import NOT_FOUND, TRY_LATER
from tasks_app.models import Attempt, Task

LISTED, LISTED_MOST = 20, 10_000
ERROR_CHARS = 300
EVENTS, EVENTS_MOST = 50, 10_000
LINES, LINES_MOST = 200, 1_000_000


class Command(absurd_explain.Command):
    help = (
        "list: tasks, newest first. show ID: a task with its attempts and events. logs ID: what an attempt wrote. "
        "explain ID: why it is not running, or how it ended. Exit codes: 0 ok, 2 usage, 3 no such task."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|logs|explain")
        listing = actions.add_parser("list", allow_abbrev=False, help="tasks, newest first")
        add_conditions(listing, status_help="stored statuses, repeated or separated by commas")
        showing = actions.add_parser("show", allow_abbrev=False, help="a task with its attempts and events")
        logs = actions.add_parser("logs", allow_abbrev=False, help="what an attempt wrote")
        logs.add_argument("--attempt", type=whole(1, 10**6), metavar="N", help="which (default: the last)")
        logs.add_argument("-f", "--follow", action="store_true", help="keep printing until the task has finished")
        for action, flag, least, most, default, what in (
            (listing, "--limit", 1, LISTED_MOST, LISTED, "how many"),
            (showing, "--events", 0, EVENTS_MOST, EVENTS, "the newest"),
            (logs, "--lines", 1, LINES_MOST, LINES, "the last"),
        ):
            text = f"{what} (default: {default})"
            action.add_argument(flag, type=whole(least, most), default=default, metavar="N", help=text)
        explaining = actions.add_parser("explain", allow_abbrev=False, help="why a task is not running")
        for action in (showing, logs, explaining):
            action.add_argument("task_id", metavar="ID", help="a task id, or the first digits of one")
        for action in (listing, showing, explaining):
            action.add_argument("--json", action="store_true", help="write JSON in the API's shapes")

    def act(self, options: dict[str, Any]) -> None:
        actions = {"list": self._list, "show": self._show, "logs": self._logs, "explain": super().act}
        actions[options["action"]](options)

    def _list(self, options: dict[str, Any]) -> None:
        rows = selected(options).select_related("worker", "run").order_by("-id")
        rows = rows.defer("result", "error").annotate(error_head=Left("error", ERROR_CHARS))
        found = list(rows[: options["limit"] + 1])
        more, found = len(found) > options["limit"], found[: options["limit"]]
        lines = table(task_output.LISTED_COLUMNS, map(task_output.listed_row, found), right=("PRIO", "TRY"))
        lines = lines if found else ["no matching task"]
        self.show(options, lambda: {"tasks": task_output.summaries_of(found), "more": more}, lines)
        if more and not options["json"]:
            self.stderr.write(f"and more; --limit shows up to {LISTED_MOST:,}")

    def _show(self, options: dict[str, Any]) -> None:
        task = lookup.find(find_task_id(options["task_id"]))
        history = task_output.histories_of(task, options["events"])
        self.show(options, lambda: task_output.shape_with_history(task, *history), task_output.page_of(task, *history))

    def _logs(self, options: dict[str, Any]) -> None:
        task = lookup.find(find_task_id(options["task_id"]))
        attempt = self._attempt_of(task, options)
        while attempt is not None:
            self.stderr.write(f"attempt {attempt.number} on {attempt.worker.host if attempt.worker else 'no host'}")
            self._log_of(attempt, options)
            if not options["follow"] or options["attempt"]:
                return
            attempt = watching.following_attempt(task, attempt.number)

    def _attempt_of(self, task: Task, options: dict[str, Any]) -> Attempt | None:
        attempts, _ = task_output.histories_of(task, 0)
        wanted = [each for each in attempts if options["attempt"] in (None, each.number)]
        if wanted:
            return wanted[-1]
        if options["attempt"] is None and options["follow"]:
            return watching.following_attempt(task, 0)
        which = f"no attempt {options['attempt']}" if options["attempt"] else "no attempt yet"
        raise CommandError(f"task {task.task_id} has {which}", returncode=NOT_FOUND)

    def _log_of(self, attempt: Attempt, options: dict[str, Any]) -> None:
        try:
            log = logs.open_log(attempt)
        except (OSError, FilesBusy) as error:
            self.stderr.write(f"{attempt.log_path or 'its log'} cannot be read: {error}")
            self.stderr.write("the last lines, as stored in the database:")
            if attempt.log_tail:
                self.stdout.write(attempt.log_tail)
            return
        try:
            with log:
                for text in watching.text_of(log, attempt, options["lines"], follow=options["follow"]):
                    self.stdout.write(text, ending="")
                    self.stdout.flush()
        except NotFetched as error:
            raise CommandError(f"{attempt.log_path} cannot be read on: {error}", returncode=TRY_LATER) from None
