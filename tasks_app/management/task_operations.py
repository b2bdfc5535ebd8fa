"""The base of cancel, retry, reprioritize and requeue: tasks by id or by conditions, previewed, then changed.

They change in chunks, one transaction each, so that an interrupted command leaves no task half changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count

from tasks_app.errors import AbsurdError, InvalidTransition
from tasks_app.formats import count
from tasks_app.management.operations import TYPED_ABOVE, OperationCommand
from tasks_app.management.printing import bar, table
from tasks_app.management.selection import add_conditions, find_task_id, has_conditions, selected
from tasks_app.management.shell import DRY_RUN, actor, exit_code_of, refuse
from tasks_app.models import Task
from tasks_app.models.querysets import TaskQuerySet
from tasks_app.operations import bulk
from tasks_app.operations.tasks import TaskOperation

REFUSALS_SHOWN = 10


@dataclass
class Outcome:
    """What became of the chosen tasks."""

    counts: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[UUID, AbsurdError]] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)

    def add(self, chunk: Iterable[bulk.TaskResult], *, named: bool) -> None:
        """Count the results of a chunk; of tasks that were named also keep the tasks."""
        for each in chunk:
            if each.refusal is not None:
                self.refused.append((each.task_id, each.refusal))
                continue
            self.counts[each.outcome] += 1
            if named and each.task is not None:
                self.tasks.append(each.task)


class TaskCommand(OperationCommand):
    """One operation on tasks."""

    operation: ClassVar[TaskOperation[Any]]
    codes = (
        "Conditions select tasks of the usual statuses unless --status is among them. Exit codes: 0 ok, "
        "1 not confirmed, 2 usage, 3 no such task, 4 its status does not allow it."
    )

    def narrow(self, tasks: TaskQuerySet, options: dict[str, Any]) -> TaskQuerySet:
        """Return those of the tasks to which the operation applies."""
        return tasks if options["status"] else tasks.filter(status__in=self.operation.chosen)

    def add_arguments(self, parser: CommandParser) -> None:
        chosen = self.operation.chosen
        parser.add_argument("task_ids", nargs="*", metavar="ID", help="task ids, or the first digits of them")
        add_conditions(parser, status_help=f"stored statuses (default: {' and '.join(chosen)})")
        parser.add_argument("--all", action="store_true", help=f"every task that is {' or '.join(chosen)}")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> None:
        """Preview, ask where conditions selected, do it, and write what was done."""
        params = self.params(options)
        by_conditions = has_conditions(options) or options["all"]
        if options["task_ids"] and by_conditions:
            refuse("give task ids or conditions, not both")
        if not options["task_ids"] and not by_conditions:
            refuse(f"name the tasks to {self.operation.name}: ids, conditions or --all")
        if by_conditions:
            rows = self.narrow(selected(options), options)
            ids = list(
                rows.order_by("-id" if self.operation.children_first else "id").values_list("task_id", flat=True)
            )
            if options["dry_run"] or not options["yes"]:
                self._preview(rows, len(ids), options)
            if options["dry_run"]:
                return
            if ids:
                typed = str(len(ids)) if len(ids) > TYPED_ABOVE else ""
                self.confirm(f"{self.operation.label} {count(len(ids), 'task')}?", options, typed=typed)
        else:
            ids = list(dict.fromkeys(find_task_id(text) for text in options["task_ids"]))
        outcome = self._carry_out(ids, params, options)
        self.show(options, self._summary(ids, outcome, options), self._lines(ids, outcome, options))
        self._end(outcome, by_ids=not by_conditions)

    def _preview(self, rows: TaskQuerySet, number: int, options: dict[str, Any]) -> None:
        groups = rows.order_by("queue_id", "task_name", "status").values_list("queue_id", "task_name", "status")
        counted = list(groups.annotate(tasks=Count("pk")))
        if not options["json"]:
            for line in table(("QUEUE", "NAME", "STATUS", "TASKS"), counted, right=("TASKS",)) if counted else ():
                self.stdout.write(line)
        if options["dry_run"]:
            name, columns = self.operation.name, ("queue_name", "task_name", "status", "tasks")
            by = [dict(zip(columns, row, strict=True)) for row in counted]
            content = {"operation": name, "dry_run": True, "selected": number, "by": by}
            self.show(options, content, [f"would {name} {count(number, 'task')}{DRY_RUN}"])

    def _carry_out(self, ids: list[UUID], params: Any, options: dict[str, Any]) -> Outcome:
        outcome = Outcome()
        chunks = bulk.Chunks(operation=self.operation, params=params, actor=actor(), dry_run=options["dry_run"])
        with bar(self.operation.name, len(ids)) as advance:
            for chunk in chunks.each(ids):
                outcome.add(chunk, named=bool(options["task_ids"]))
                advance(len(chunk))
        return outcome

    def _summary(self, ids: list[UUID], outcome: Outcome, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "operation": self.operation.name,
            "dry_run": options["dry_run"],
            "selected": len(ids),
            "done": outcome.counts.total(),
            "counts": dict(outcome.counts),
            "tasks": [{"task_id": task.task_id, "status": task.status} for task in outcome.tasks],
            "refused": [
                {"task_id": task_id, "code": error.code, "message": str(error)} for task_id, error in outcome.refused
            ],
        }

    def _lines(self, ids: list[UUID], outcome: Outcome, options: dict[str, Any]) -> Iterable[str]:
        parts = [f"{number:,} {what}" for what, number in outcome.counts.items()]
        if outcome.refused and len(ids) > 1:
            parts.append(f"{len(outcome.refused):,} refused")
        if parts or not ids:
            note = DRY_RUN if options["dry_run"] else ""
            yield (", ".join(parts) or "no matching task") + note
        if len(ids) > 1:
            for _, error in outcome.refused[:REFUSALS_SHOWN]:
                yield f"  {error}"

    def _end(self, outcome: Outcome, *, by_ids: bool) -> None:
        """A refusal of a named task fails the command; of tasks that conditions selected, some change meanwhile."""
        faults = [error for _, error in outcome.refused if by_ids or not isinstance(error, InvalidTransition)]
        if faults:
            alone = len(outcome.refused) == 1 and not outcome.counts
            message = str(faults[0]) if alone else f"{count(len(faults), 'task')} refused"
            raise CommandError(message, returncode=exit_code_of(faults[0]))
