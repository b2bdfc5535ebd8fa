"""All operations, by the kind of their target and their name: the queue's, and those that applications add."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tasks_app.operations.emergency import emergency_recover, emergency_stop
from tasks_app.operations.operation import Operation, TargetKind
from tasks_app.operations.queues import pause, remove_limit, resume, set_limit
from tasks_app.operations.routes import TARGETS
from tasks_app.operations.runs import cancel_run, retry_run
from tasks_app.operations.schedules import delete, run_now
from tasks_app.operations.schedules import disable as disable_schedule
from tasks_app.operations.schedules import enable as enable_schedule
from tasks_app.operations.system import acknowledge, disable, enable, freeze, thaw
from tasks_app.operations.tasks import TaskOperation, cancel, reprioritize, requeue, respawn, retry
from tasks_app.operations.workers import drain_worker, pause_worker, recycle_worker, resume_worker

_ALL: Iterable[Operation[Any, Any]] = (
    *(cancel, retry, reprioritize, requeue, respawn),
    *(cancel_run, retry_run),
    *(pause_worker, resume_worker, drain_worker, recycle_worker),
    *(pause, resume),
    *(run_now, enable_schedule, disable_schedule, delete),
    *(set_limit, remove_limit),
    *(freeze, thaw, enable, disable, emergency_stop, emergency_recover, acknowledge),
)
OPERATIONS: dict[tuple[TargetKind, str], Operation[Any, Any]] = {
    (operation.target_kind, operation.name): operation for operation in _ALL
}
TASK_OPERATIONS: dict[str, TaskOperation[Any]] = {
    operation.name: operation for operation in _ALL if isinstance(operation, TaskOperation)
}
"""Those that can be done to many tasks at once."""


def register(*operations: Operation[Any, Any]) -> None:
    """Add an application's operations; those that are there stay. Raises ValueError for another one of the same name,
    or one without a route.
    """
    for operation in operations:
        key = operation.target_kind, operation.name
        if OPERATIONS.get(key, operation) is not operation or operation.target_kind not in TARGETS:
            raise ValueError(f"{operation!r}: its name is taken in the catalogue, or its kind is not in routes.TARGETS")
        OPERATIONS[key] = operation


def operations_on(kind: TargetKind) -> list[Operation[Any, Any]]:
    """Return the operations on one kind of target."""
    return [operation for operation in OPERATIONS.values() if operation.target_kind == kind]
