"""What can go wrong with the queue, in words for the person who asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


class AbsurdError(Exception):
    """Base of the queue's errors; `code` is stable, the message is for people."""

    code = "error"
    remedy = ""
    """What to do about it, where the message does not say; the Python client fills it in."""


class Disabled(AbsurdError):
    """The system is disabled: no task is accepted or claimed."""

    code = "disabled"

    def __init__(self, message: str = "Absurd is disabled: run manage.py absurd_enable") -> None:
        super().__init__(message)


class TaskNotFound(AbsurdError):
    """No task has that id."""

    code = "task_not_found"

    def __init__(self, task_id: object) -> None:
        super().__init__(f"there is no task {task_id}")


class QueueNotFound(AbsurdError):
    """No queue has that name."""

    code = "queue_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no queue {name!r}")


class RunNotFound(AbsurdError):
    """No run has that id."""

    code = "run_not_found"

    def __init__(self, run_id: object) -> None:
        super().__init__(f"there is no run {run_id}")


class OperationRefused(AbsurdError):
    """The state of the target does not allow the operation."""

    code = "operation_refused"

    def __init__(self, operation: str, target: str, why: str) -> None:
        super().__init__(f"cannot {operation} {target}: {why}")


class UnknownTaskName(AbsurdError):
    """No handler is registered under that name."""

    code = "unknown_task_name"

    def __init__(self, name: str, near: Sequence[str]) -> None:
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        super().__init__(f"unknown task name {name!r}{hint}")


class ParamsInvalid(AbsurdError):
    """The params or options of a spawn do not fit; `problems` lists each field's path and fault."""

    code = "params_invalid"

    def __init__(self, problems: Sequence[Mapping[str, Any]]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{p['path']}: {p['message']}" for p in self.problems))


class IdempotencyConflict(AbsurdError):
    """The key was used before, for something else."""

    code = "idempotency_conflict"

    def __init__(self, key: str) -> None:
        super().__init__(f"the idempotency key {key!r} was used before with other content")


class InvalidTransition(AbsurdError):
    """The state machine has no such move."""

    code = "invalid_transition"

    def __init__(self, task_id: object, current: str, verb: str, hint: str = "") -> None:
        self.current = current
        self.hint = hint
        super().__init__(f"cannot {verb} task {task_id}: it is {current}" + (f"; {hint}" if hint else ""))


class AlreadyFrozen(AbsurdError):
    """Everything is frozen already."""

    code = "already_frozen"

    def __init__(self, by: str, since: datetime, reason: str) -> None:
        super().__init__(f"everything is already frozen, by {by} since {since:%Y-%m-%d %H:%M:%SZ}: {reason}")


class NotFrozen(AbsurdError):
    """There is nothing to thaw."""

    code = "not_frozen"

    def __init__(self) -> None:
        super().__init__("nothing is frozen")


class LimitNotFound(AbsurdError):
    """There is no such limit."""

    code = "limit_not_found"

    def __init__(self, scope: str, name: str) -> None:
        super().__init__(f"the {scope} {name!r} has no limit")


class ScheduleNotFound(AbsurdError):
    """No schedule has that name."""

    code = "schedule_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no schedule {name!r}")


class WorkerNotFound(AbsurdError):
    """No worker has that id."""

    code = "worker_not_found"

    def __init__(self, worker_id: object) -> None:
        super().__init__(f"there is no worker {worker_id}; see the list of workers for their ids")


class SelectionChanged(AbsurdError):
    """More tasks match than were shown when somebody agreed."""

    code = "selection_changed"

    def __init__(self, shown: int, count: int) -> None:
        self.count = count
        super().__init__(f"the selection has changed: {shown} tasks were shown, {count} match now; repeat the dry run")


class ConfirmationRefused(AbsurdError):
    """The token was not issued for this request."""

    code = "confirmation_refused"

    def __init__(self, why: str) -> None:
        super().__init__(f"the token {why}; repeat the dry run and send its token with the same request")


class RangeNotSatisfiable(AbsurdError):
    """The file has no such bytes."""

    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the file has {size} bytes; the requested range is outside it")


class TooSlow(AbsurdError):
    """No index serves the question, and going through all rows takes too long."""

    code = "too_slow"

    def __init__(self, limit_sec: float) -> None:
        super().__init__(f"the query took longer than {limit_sec:g} s")


class FilesBusy(AbsurdError):
    """A file system does not answer in time, or too many files are being sent."""

    code = "files_busy"

    def __init__(self, where: str) -> None:
        super().__init__(f"files below {where} cannot be read now: the file system does not answer, or is in heavy use")


class TaskArchived(InvalidTransition):
    """The task has left the hot tables and can change no more."""

    code = "task_archived"

    def __init__(self, task_id: object) -> None:
        self.current = "archived"
        AbsurdError.__init__(self, f"task {task_id} is archived and cannot change; respawn it to run it again")


class LostClaim(AbsurdError):
    """A worker's write was refused because its claim no longer holds the task."""

    code = "lost_claim"

    def __init__(self, task_id: object, verb: str) -> None:
        super().__init__(f"late {verb} of task {task_id} refused: its claim is no longer valid")


class NotClaimable(AbsurdError):
    """A certain task was to be claimed that nobody may claim now."""

    code = "not_claimable"

    def __init__(self, task_id: object, why: str) -> None:
        super().__init__(f"task {task_id} cannot be claimed now: {why}")


class TaskCancelled(AbsurdError):
    """An operator cancelled the task. Named in the results of Django tasks."""

    code = "task_cancelled"


class AttemptFailed(AbsurdError):
    """An attempt ended without an exception of its own: its worker was lost, or it was stopped. Named in results."""

    code = "attempt_failed"
