"""`manage.py absurd_spawn NAME key=value …`: put a task into the queue, and with --wait wait for it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn
from tasks_app.formats import first_line
from tasks_app.management.arguments import add_fields, fields_in, number, read_params
from tasks_app.management.selection import find_task_id
from tasks_app.management.shell import DRY_RUN, FAILED, TRY_LATER, ShellCommand, actor, refuse
from tasks_app.management.task_output import detail_of
from tasks_app.management.watching import follow, state_line
from tasks_app.models import Task, TaskStatus

ERROR_CHARS = 300
OWN = ("task_name", "params")
"""Options that are arguments of their own."""


class Command(ShellCommand):
    help = (
        "Spawn a task. Its params are key=value pairs, a JSON object, or both. Exit codes: 0 spawned, or with --wait "
        "completed; 1 with --wait failed or cancelled; 2 usage, invalid params included; 4 the idempotency key "
        "was used with other content; 75 Absurd is disabled, or --timeout has passed: the task continues."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("task_name", metavar="NAME", help="task name, such as calibration-solve")
        add(
            "pairs",
            nargs="*",
            metavar="KEY=VALUE",
            help="a param; parsed as JSON if it is valid JSON; KEY:=JSON must be JSON",
        )
        add("--params", metavar="JSON", help="all params as a JSON object; @FILE reads it from a file, @- from stdin")
        add_fields(parser, TaskOptions, without=OWN)
        add("--wait", action="store_true", help="show its progress until it has finished")
        add("--timeout", type=number(0), metavar="SEC", help="with --wait: stop waiting after this long")
        add("--dry-run", action="store_true", help="check everything and spawn nothing")
        add("--json", action="store_true", help="write the task as the API shows it")

    def act(self, options: dict[str, Any]) -> None:
        if options["timeout"] is not None and not options["wait"]:
            refuse("--timeout needs --wait; the time of an attempt is --timeout-sec")
        params = read_params(options["task_name"], options["pairs"], options["params"])
        given = fields_in(options, TaskOptions, without=OWN)
        if "depends_on" in given:
            given["depends_on"] = [find_task_id(text) for text in given["depends_on"]]
        wanted = TaskOptions(task_name=options["task_name"], params=params, **given)
        with transaction.atomic():
            task = spawn(wanted, actor=actor())
            shape = detail_of(task) if options["json"] else {}
            transaction.set_rollback(options["dry_run"])
        if options["dry_run"]:
            about = f"with priority {task.priority} and params {task.params}"
            line = f"would spawn {task.task_name} into {task.queue_id} {about}{DRY_RUN}"
            self.show(options, {**shape, "dry_run": True}, [line])
            return
        if not (options["json"] and options["wait"]):
            self.show(options, {**shape, "queue_paused": task.queue_paused}, [str(task.task_id)])
        if not options["json"]:
            note = "; the queue is paused" if task.queue_paused else ""
            self.stderr.write(f"spawned {task.task_name} into {task.queue_id}, {state_line(task)}{note}")
        if options["wait"]:
            self._wait(task, options)

    def _wait(self, task: Task, options: dict[str, Any]) -> None:
        ended = follow(task.task_id, limit_sec=options["timeout"])
        if options["json"]:
            self.write_json(detail_of(ended))
        if not ended.is_finished:
            message = (
                f"task {ended.task_id} is still {ended.display_status} after {options['timeout']:g} s; it continues"
            )
            raise CommandError(message, returncode=TRY_LATER)
        if ended.status != TaskStatus.COMPLETED:
            why = first_line(ended.error, ERROR_CHARS) or ended.cancel_reason
            end = f"task {ended.task_id} {ended.status}" + (f" ({ended.failure_class})" if ended.failure_class else "")
            raise CommandError(f"{end}: {why}" if why else end, returncode=FAILED)
