"""Functions that an application would decorate with Django's @task."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django_tasks import TaskContext, task

from tasks_app.engine.handler import InvalidInput, NoWork


class Broken(Exception):
    """An exception of the application's own."""


@task
def add(left: int, right: int = 0) -> int:
    return left + right


@task()
async def add_later(left: int, right: int) -> int:
    return left + right


@task
def count_queues() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM tasks_app_queue")
        return cursor.fetchone()[0]


@task(takes_context=True)
def who_am_i(context: TaskContext, greeting: str) -> dict[str, Any]:
    result = context.task_result
    return {
        "greeting": greeting,
        "id": result.id,
        "attempt": context.attempt,
        "status": result.status.value,
        "workers": result.worker_ids,
    }


@task
def fail(message: str = "no such field") -> None:
    raise Broken(message)


@task
def fail_strangely(how: str) -> Any:
    raised = {"invalid": InvalidInput, "no_work": NoWork, "exit": SystemExit, "memory": MemoryError}
    if how in raised:
        raise raised[how]("on purpose")
    return {"object": object(), "nan": float("nan"), "group": ExceptionGroup("two", [ValueError("a"), Broken("b")])}[
        how
    ]


@task
def fail_by_group() -> None:
    raise ExceptionGroup("two", [ValueError("a"), Broken("b")])


def undecorated() -> None:
    pass


elsewhere = task(undecorated)
