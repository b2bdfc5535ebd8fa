"""Tasks of the former system, read from its database: finished ones into the archive, open ones as new tasks.

Its table is `absurd.tasks` or, in the older layout, `absurd.t_tasks`; they differ in the name of one column.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.db.models.expressions import DatabaseDefault
from psycopg.rows import dict_row

from tasks_app.engine import registry
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn
from tasks_app.errors import AbsurdError, ParamsInvalid
from tasks_app.formats import without_passwords
from tasks_app.models import ArchivedTask, Task, TaskStatus
from tasks_app.models.task import FailureClass
from tasks_app.postgresql import clock
from tasks_app.validation import PRIORITY_DEFAULT, PRIORITY_LEAST, PRIORITY_MOST, fault_of_name

TABLES = {"tasks": "attempt", "t_tasks": "retry_count"}
"""The column that counts attempts, by the table's name."""
SCHEMA = "absurd"
FINISHED = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)
BATCH = 500
TIMEOUT_SEC = 3600
EXAMPLES = 5

_READ = """
SELECT task_id, queue_name, task_name, params, priority, timeout_sec, status, {attempts} AS attempts, max_retries,
    result, error, created_at, claimed_at, completed_at
FROM {table} WHERE %(queues)s::text[] IS NULL OR queue_name = ANY(%(queues)s::text[]) ORDER BY created_at, task_id
"""


@dataclass
class Imported:
    """What an import did, or with `dry_run` would do."""

    table: str
    tasks: int = 0
    archived: Counter[str] = field(default_factory=Counter)
    """By status."""
    spawned: int = 0
    known: int = 0
    """Those that an earlier import has taken over."""
    open: int = 0
    """Pending and claimed ones that were left alone."""
    refused: Counter[str] = field(default_factory=Counter)
    """By reason."""
    examples: list[str] = field(default_factory=list)
    """Some of the refused tasks, with the reason."""

    def refuse(self, row: dict[str, Any], reason: str) -> None:
        """Count a task that cannot be taken over."""
        self.refused[reason] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{row['task_id']} {row['task_name']}: {reason}")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to import."""

    url: str
    queues: Sequence[str] = ()
    spawn_open: bool = False
    dry_run: bool = False
    actor: str


def take_over(wish: Wish, on_progress: Callable[[int, int], None]) -> Imported:
    """Import the tasks, a batch at a time, each once; `on_progress` gets how many of how many were read.

    Raises ParamsInvalid when the database cannot be read.
    """
    try:
        with psycopg.connect(wish.url, row_factory=dict_row) as source:
            source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return _read_all(source, wish, on_progress)
    except psycopg.Error as error:
        reason = without_passwords(str(error).strip().split("\n", 1)[0])
        raise _unusable(wish.url, reason) from error


def _unusable(url: str, reason: str) -> ParamsInvalid:
    return ParamsInvalid([{"path": "url", "message": f"{without_passwords(url)} cannot be imported: {reason}"}])


def _read_all(source: psycopg.Connection[Any], wish: Wish, on_progress: Callable[[int, int], None]) -> Imported:
    table = _table(source, wish.url)
    found = Imported(table=f"{SCHEMA}.{table}")
    statement = _READ.format(table=found.table, attempts=TABLES[table])
    parameters = {"queues": list(wish.queues) or None}
    total = source.execute(f"SELECT count(*) AS n FROM ({statement}) AS rows", parameters).fetchone()  # noqa: S608
    with source.cursor("old_tasks") as cursor:
        cursor.itersize = BATCH
        cursor.execute(statement, parameters)
        while rows := cursor.fetchmany(BATCH):
            with transaction.atomic():
                _take_batch(rows, wish, found)
            found.tasks += len(rows)
            on_progress(found.tasks, total["n"] if total else found.tasks)
    return found


def _table(source: psycopg.Connection[Any], url: str) -> str:
    columns: dict[str, set[str]] = {}
    query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s"
    for row in source.execute(query, [SCHEMA]):
        columns.setdefault(row["table_name"], set()).add(row["column_name"])
    for table, attempts in TABLES.items():
        if attempts in columns.get(table, ()):
            return table
    raise _unusable(url, "it has neither absurd.tasks with the column attempt nor absurd.t_tasks with retry_count")


def _take_batch(rows: Sequence[dict[str, Any]], wish: Wish, found: Imported) -> None:
    ids = [row["task_id"] for row in rows]
    known: set[UUID] = set(ArchivedTask.objects.filter(task_id__in=ids).values_list("task_id", flat=True))
    known |= set(Task.objects.filter(task_id__in=ids).values_list("task_id", flat=True))
    archive = []
    for row in rows:
        if row["task_id"] in known:
            found.known += 1
        elif reason := _fault_of(row):
            found.refuse(row, reason)
        elif row["status"] in FINISHED:
            archive.append(row)
            found.archived[row["status"]] += 1
        elif wish.spawn_open:
            _spawn(row, wish, found)
        else:
            found.open += 1
    if archive and not wish.dry_run:
        # Two imports at once read the same rows; the second leaves what the first has stored.
        ArchivedTask.objects.bulk_create(_archived(archive), ignore_conflicts=True)


def _fault_of(row: dict[str, Any]) -> str:
    """Return why a task cannot be taken over, or an empty text."""
    for column in ("queue_name", "task_name"):
        if fault := fault_of_name(row[column]):
            return f"its {column} {fault}"
    if not isinstance(row["params"], dict):
        return "its params are no object"
    if row["status"] in FINISHED and settings.ABSURD_ARCHIVE_DAYS:
        oldest = clock.now() - timedelta(days=settings.ABSURD_ARCHIVE_DAYS)
        if _ended_at(row) < oldest:
            return f"it finished more than ABSURD_ARCHIVE_DAYS={settings.ABSURD_ARCHIVE_DAYS} days ago"
    return ""


def _ended_at(row: dict[str, Any]) -> datetime:
    found: datetime = row["completed_at"] or row["claimed_at"] or row["created_at"]
    return found


def _priority(row: dict[str, Any]) -> int:
    """Return the priority on the scale here; 0 was the default there."""
    return max(PRIORITY_LEAST, min(PRIORITY_MOST, row["priority"] or PRIORITY_DEFAULT))


def _spawn(row: dict[str, Any], wish: Wish, found: Imported) -> None:
    if row["task_name"] not in registry.names():
        found.refuse(row, "no task of this name is known here")
        return
    if wish.dry_run:
        found.spawned += 1
        return
    options = TaskOptions(
        task_name=row["task_name"], queue_name=row["queue_name"], params=row["params"], priority=_priority(row),
        timeout_sec=row["timeout_sec"], max_retries=row["max_retries"], idempotency_key=f"import:{row['task_id']}",
    )  # fmt: skip
    try:
        with transaction.atomic():
            made = spawn(options, actor=wish.actor)
    except AbsurdError as error:
        found.refuse(row, str(error))
        return
    found.spawned += made.is_new
    found.known += not made.is_new


def _archived(rows: Sequence[dict[str, Any]]) -> Iterator[ArchivedTask]:
    with connection.cursor() as cursor:
        sequence = "pg_get_serial_sequence('tasks_app_task', 'id')"
        cursor.execute(f"SELECT nextval({sequence}) FROM generate_series(1, %s)", [len(rows)])  # noqa: S608
        numbers = [number for (number,) in cursor.fetchall()]
    for number, row in zip(numbers, rows, strict=True):
        task = _task(number, row)
        values = ((each.column, getattr(task, each.attname)) for each in Task._meta.concrete_fields)
        document = {column: value for column, value in values if not isinstance(value, DatabaseDefault)} | {
            "status": row["status"]
        }
        yield ArchivedTask(
            id=number, task_id=task.task_id, queue_name=task.queue_id, task_name=task.task_name, status=row["status"],
            created_at=task.created_at, completed_at=_ended_at(row), last_event_id=0,
            task=json.loads(json.dumps(document, cls=DjangoJSONEncoder)), attempts=[], events=[],
        )  # fmt: skip


def _task(number: int, row: dict[str, Any]) -> Task:
    """Return a task of the former system as it would be here."""
    attempts = row["attempts"] or 0
    return Task(
        id=number, task_id=row["task_id"], queue_id=row["queue_name"], task_name=row["task_name"], params=row["params"],
        priority=_priority(row), rank=0, runnable_at=row["created_at"],
        timeout_sec=row["timeout_sec"] or TIMEOUT_SEC, max_retries=max(0, row["max_retries"] or 0),
        retry_count=max(0, attempts - 1), claim_epoch=max(0, attempts), result=row["result"], error=row["error"],
        failure_class=FailureClass.ERROR if row["status"] == TaskStatus.FAILED else "", created_by="import",
        created_at=row["created_at"], claimed_at=row["claimed_at"], completed_at=_ended_at(row),
    )  # fmt: skip
