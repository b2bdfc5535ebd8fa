"""How an attempt failed, as Django wants to hear it: the path of an exception class, and a traceback.

The queue keeps of an exception its text and its traceback. The class's path goes with them as a note in its own line.
"""

from __future__ import annotations

import functools
import re
import sys
from typing import Any, cast

from tasks_app import cleaning
from tasks_app.django_tasks_backend.interface import TaskError
from tasks_app.engine.handler import InvalidInput
from tasks_app.errors import AttemptFailed, TaskCancelled

NOTE = "exception class: "
_MARK = re.compile(rf"^[ |]*{NOTE}(?P<path>\S+)(?:\n|\Z)", re.MULTILINE)
NONE = frozenset({"", "completed", "no_work", "drained", "unavailable"})
"""Outcomes of attempts that are no failures of the task."""

_CLASSES: dict[str, type[BaseException]] = {
    "invalid": InvalidInput,
    "timeout": TimeoutError,
    "memory": MemoryError,
    "cancelled": TaskCancelled,
}
"""For what ended without an exception of the function's own."""


def path_of(exception: type[BaseException]) -> str:
    """Return the path by which the class can be imported."""
    return f"{exception.__module__}.{exception.__qualname__}"


def mark(error: BaseException) -> None:
    """Note the path of the exception's class, so that it comes to stand in the traceback."""
    error.add_note(NOTE + path_of(type(error)))


def of(outcome: str, message: str, traceback: str = "") -> TaskError:
    """Return the error of an attempt, or of a task that ended without one."""
    marks = list(_MARK.finditer(traceback))
    if marks and _is_loaded(marks[-1]["path"]):
        text = traceback[: marks[-1].start()] + traceback[marks[-1].end() :]
        return TaskError(exception_class_path=marks[-1]["path"], traceback=text)
    exception = _CLASSES.get(outcome, AttemptFailed)
    return TaskError(exception_class_path=path_of(exception), traceback=traceback or message or outcome)


def _is_loaded(path: str) -> bool:
    """Return whether the path leads to an exception in a module that is imported already.

    Django imports what stands here, and the text of a traceback may contain what the caller chose as arguments.
    """
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:end]))
        if module is not None:
            found = functools.reduce(lambda owner, name: getattr(owner, name, None), parts[end:], cast(Any, module))
            return isinstance(found, type) and issubclass(found, BaseException)
    return False


def seen(error: BaseException) -> TaskError:
    """Return the error for an exception that is at hand."""
    return TaskError(exception_class_path=path_of(type(error)), traceback=cleaning.traceback_of(error))
