"""What an operator means by an id, or by the first digits of one."""

from __future__ import annotations

from uuid import UUID

from tasks_app.errors import ParamsInvalid, RunNotFound, TaskNotFound, WorkerNotFound
from tasks_app.models import Run, Task, Worker
from tasks_app.monitoring.workers import state_of
from tasks_app.operations.runs import found_run
from tasks_app.postgresql import clock

DIGITS_LEAST = 4


def find_run(text: str) -> Run:
    """Return the run of an id or of the first digits of one.

    Raises RunNotFound, or ParamsInvalid when several runs begin so.
    """
    try:
        return found_run(UUID(text))
    except ValueError:
        pass
    span = _span(text)
    if span is None:
        raise RunNotFound(text)
    found = list(Run.objects.filter(run_id__range=span)[:2])
    _check_single(len(found), "runs", text)
    if not found:
        raise RunNotFound(text)
    return found[0]


def find_task_id(text: str) -> UUID:
    """Return the task id that is meant; a whole one is not looked up. First digits find what is not archived.

    Raises TaskNotFound, or ParamsInvalid when several tasks begin so.
    """
    try:
        return UUID(text)
    except ValueError:
        pass
    span = _span(text)
    if span is None:
        raise TaskNotFound(text[:100])
    found: list[UUID] = list(Task.objects.filter(task_id__range=span).values_list("task_id", flat=True)[:2])
    _check_single(len(found), "tasks", text)
    if not found:
        raise TaskNotFound(text)
    return found[0]


def find_worker(text: str) -> Worker:
    """Return the worker of an id, of the first digits of one, or of a label that only one worker bears which is up.

    Raises WorkerNotFound, or ParamsInvalid when several are meant.
    """
    named = Worker.objects.filter(label=text)
    found: list[Worker] = list(named.filter(stopped_at=None)[:2]) or list(named.order_by("-started_at")[:1])
    if len(found) > 1:
        moment = clock.now()
        found = [worker for worker in named.filter(stopped_at=None) if state_of(worker, moment, busy=False) != "lost"]
    span = _span(text)
    if not found and span is not None:
        found = list(Worker.objects.filter(pk__range=span)[:2])
    _check_single(len(found), "workers", text)
    if not found:
        raise WorkerNotFound(text)
    return found[0]


def _span(text: str) -> tuple[UUID, UUID] | None:
    digits = text.lower().replace("-", "")
    if not DIGITS_LEAST <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def _check_single(count: int, what: str, text: str) -> None:
    if count > 1:
        raise ParamsInvalid(
            [{"path": "ID", "message": f"several {what} are called {text} or begin so; write more of the id"}]
        )
