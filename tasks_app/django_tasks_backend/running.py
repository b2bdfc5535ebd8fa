"""The handler of Django tasks. It runs in a thread of the worker, where Django and the database are."""

from __future__ import annotations

from typing import Any

from tasks_app import cleaning
from tasks_app.django_tasks_backend import registered, results
from tasks_app.django_tasks_backend.call import Call
from tasks_app.django_tasks_backend.interface import (
    Task,
    TaskContext,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_finished,
    task_started,
)
from tasks_app.engine.handler import Context, NoWork, Unavailable
from tasks_app.postgresql import clock


def run(params: Call, context: Context) -> dict[str, Any]:
    """Call the function and return what it returned. Raises whatever it raises, with its class noted.

    Raises Unavailable for a function that this worker does not know: it was registered where the task was spawned, so
    a worker of that version has it.
    """
    if registered.find(params.function) is None:
        raise Unavailable(registered.unknown(params.function))
    try:
        task = results.task_of(params)
        result = results.find(context.task_id)
        if result is None:
            raise LookupError(f"task {context.task_id} does not exist any more")
        return {"return_value": _call(task, result)}
    except NoWork:
        raise
    except BaseException as error:
        results.mark(error)
        raise


def _call(task: Task[Any, Any], result: TaskResult[Any]) -> Any:
    """Call the function between the signals that Django promises; a receiver's failure is logged, not the task's."""
    sender = type(task.get_backend())
    task_started.send_robust(sender, task_result=result)
    before = (TaskContext(task_result=result),) if task.takes_context else ()
    try:
        value = normalize_json(task.call(*before, *result.args, **result.kwargs))
        cleaning.json_value(value, "return value")
    except BaseException as error:
        if not isinstance(error, NoWork):
            results.set_on(result, errors=[*result.errors, results.seen(error)])
        status = TaskResultStatus.SUCCESSFUL if isinstance(error, NoWork) else TaskResultStatus.FAILED
        results.set_on(result, status=status, finished_at=clock.now())
        task_finished.send_robust(sender, task_result=result)
        raise
    results.set_on(result, status=TaskResultStatus.SUCCESSFUL, finished_at=clock.now(), _return_value=value)
    task_finished.send_robust(sender, task_result=result)
    return value
