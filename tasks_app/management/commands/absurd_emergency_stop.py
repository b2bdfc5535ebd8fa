"""`manage.py absurd_emergency_stop`: stop everything, in one confirmed and recorded step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from tasks_app.formats import count, moment
from tasks_app.management.printing import bar
from tasks_app.management.shell import ShellCommand, actor
from tasks_app.operations.emergency import StopCounts, StopWish, stop, stop_preview
from tasks_app.operations.freeze import current

WORD = "STOP"


class Command(ShellCommand):
    help = (
        "Freeze every queue at once: no task starts any more. With --stop-running also stop running tasks, with "
        "--cancel-pending cancel pending tasks, with --drain-workers drain the workers. Can be repeated to stop more. "
        "To recover: absurd_emergency_recover. Exit codes: 0 ok, 1 not confirmed, 2 usage."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--reason", required=True, help="reason (required, recorded)")
        add("--stop-running", action="store_true", help="cancel claimed tasks: their processes are ended")
        add("--cancel-pending", action="store_true", help="cancel all pending tasks of all queues")
        add("--drain-workers", action="store_true", help="drain the workers: they exit when their running tasks end")
        add("--dry-run", action="store_true", help="only show what would be done")
        add("--yes", action="store_true", help="do not ask for confirmation")
        add("--json", action="store_true", help="write JSON")

    def act(self, options: dict[str, Any]) -> None:
        """Show the plan, ask for a word that nobody types by mistake, stop."""
        wish = StopWish(**{name: options[name] for name in ("cancel_pending", "stop_running", "drain_workers")})
        there = stop_preview()
        if options["dry_run"] and options["json"]:
            self.write_json({"dry_run": True, "wish": asdict(wish), "there": asdict(there)})
            return
        if not options["json"]:
            self.stdout.write(f"EMERGENCY STOP of all queues: {options['reason']}")
            for number, line in enumerate(_plan(wish, there), start=1):
                self.stdout.write(f"  {number}. {line}")
            self.stdout.write("Nothing is deleted. To recover: manage.py absurd_emergency_recover")
        if options["dry_run"]:
            self.stdout.write("(dry run: nothing was done)")
            return
        self.confirm("", options, typed=WORD)
        total = wish.stop_running * there.running + wish.cancel_pending * there.pending
        with bar("stopping", total) as tell:
            counts = stop(wish, actor=actor(), reason=options["reason"], tell=tell)
        if options["json"]:
            self.write_json({"dry_run": False, "wish": asdict(wish), "done": asdict(counts)})
        else:
            self.stdout.write(_told(counts))


def _plan(wish: StopWish, there: StopCounts) -> Iterator[str]:
    frozen = current()
    if frozen is None:
        yield "FREEZE: from now on no task of any queue starts; new tasks are stored and stay pending."
    else:
        yield f"Frozen already, by {frozen.frozen_by} since {moment(frozen.frozen_at)}: {frozen.reason}"
    running, grace_sec = count(there.running, "running task"), settings.ABSURD_STOP_GRACE_SEC
    if wish.stop_running:
        yield f"STOP {running}: processes are ended within about {grace_sec:g} s, the tasks become cancelled."
    else:
        yield f"LET {running} finish (--stop-running: end them now)."
    pending = count(there.pending, "pending task")
    if wish.cancel_pending:
        yield f"CANCEL {pending}."
    else:
        yield f"KEEP {pending}, waiting (--cancel-pending: cancel them)."
    workers = count(there.workers, "worker")
    if wish.drain_workers:
        yield f"DRAIN {workers}: each exits after its running tasks; restart it with make up or manage.py runworker."
    else:
        yield f"LEAVE {workers} running without claims (--drain-workers: drain them)."


def _told(counts: StopCounts) -> str:
    parts = [
        "everything is frozen",
        *([f"{count(counts.running, 'task')} asked to stop"] if counts.running else []),
        *([f"{count(counts.pending, 'task')} cancelled"] if counts.pending else []),
        *([f"{count(counts.workers, 'worker')} ordered to drain"] if counts.workers else []),
        *([f"{counts.refused} of these had already ended"] if counts.refused else []),
    ]
    return "; ".join(parts)
