"""The queue's errors.

The kind of an error decides the HTTP status and the exit code: NotFound, Conflict, Invalid, TryLater.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


class AbsurdError(Exception):
    """Base of the queue's errors; made of the values that its text names."""

    code = "error"
    """Stable; the message is for people."""
    text = "{}"
    remedy = ""
    """What to do about it, where the message does not say."""

    def __init__(self, *values: object) -> None:
        super().__init__(self.text.format(*values))


class NotFound(AbsurdError):
    """What is named does not exist."""


class Conflict(AbsurdError):
    """The state of things does not allow it."""


class Invalid(AbsurdError):
    """What was sent is wrong."""


class TryLater(AbsurdError):
    """It cannot be done now."""


class TaskNotFound(NotFound):
    """No task has that id."""

    code = "task_not_found"
    text = "there is no task {}"


class QueueNotFound(NotFound):
    """No queue has that name."""

    code = "queue_not_found"
    text = "there is no queue {!r}"


class RunNotFound(NotFound):
    """No run has that id."""

    code = "run_not_found"
    text = "there is no run {}"


class LimitNotFound(NotFound):
    """No limit has that scope and name."""

    code = "limit_not_found"
    text = "the {} {!r} has no limit"


class ScheduleNotFound(NotFound):
    """No schedule has that name."""

    code = "schedule_not_found"
    text = "there is no schedule {!r}"


class WorkerNotFound(NotFound):
    """No worker has that id."""

    code = "worker_not_found"
    text = "there is no worker {}; see the list of workers for their ids"


class OperationRefused(Conflict):
    """The state of the target does not allow the operation; made of operation, target and reason."""

    code = "operation_refused"
    text = "cannot {} {}: {}"


class InvalidTransition(Conflict):
    """The state machine has no such move."""

    code = "invalid_transition"

    def __init__(self, task_id: object, current: str, operation: str, hint: str = "") -> None:
        self.current = current
        self.hint = hint
        super().__init__(f"cannot {operation} task {task_id}: it is {current}" + (f"; {hint}" if hint else ""))


class TaskArchived(InvalidTransition):
    """The task is in the archive and cannot change any more."""

    code = "task_archived"
    remedy = "Respawn it: spawn a new task with its task_name and params."

    def __init__(self, task_id: object) -> None:
        self.current, self.hint = "archived", ""
        AbsurdError.__init__(self, f"task {task_id} is archived and cannot change; respawn it to run it again")


class AlreadyFrozen(Conflict):
    """Everything is frozen already."""

    code = "already_frozen"

    def __init__(self, by: str, since: datetime, reason: str) -> None:
        super().__init__(f"everything is already frozen, by {by} since {since:%Y-%m-%d %H:%M:%SZ}: {reason}")


class NotFrozen(Conflict):
    """There is nothing to thaw."""

    code = "not_frozen"
    text = "nothing is frozen"


class IdempotencyConflict(Conflict):
    """The key was used before, for something else."""

    code = "idempotency_conflict"
    text = "the idempotency key {!r} was used before with other content"
    remedy = "Send a new Idempotency-Key, or repeat the first request unchanged."


class SelectionChanged(Conflict):
    """More tasks match than were shown when somebody agreed."""

    code = "selection_changed"

    def __init__(self, shown: int, count: int) -> None:
        self.count = count
        super().__init__(f"the selection has changed: {shown} tasks were shown, {count} match now; repeat the dry run")


class ConfirmationRefused(Conflict):
    """The token was not issued for this request."""

    code = "confirmation_refused"
    text = "the token {}; repeat the dry run and send its token with the same request"


class LostClaim(Conflict):
    """A worker's write was refused because its claim no longer holds the task; made of the task's id and the write."""

    code = "lost_claim"
    text = "late {1} of task {0} refused: its claim is no longer valid"


class ParamsInvalid(Invalid):
    """The params or options of a spawn do not fit; `problems` lists each field's path and fault."""

    code = "params_invalid"

    def __init__(self, problems: Sequence[Mapping[str, Any]]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{p['path']}: {p['message']}" for p in self.problems))


class UnknownTaskName(Invalid):
    """No handler is registered under that name."""

    code = "unknown_task_name"
    remedy = "Use one of the registered task names."

    def __init__(self, name: str, near: Sequence[str]) -> None:
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        super().__init__(f"unknown task name {name!r}{hint}")


class Disabled(TryLater):
    """The system is disabled: no task is accepted or claimed."""

    code = "disabled"
    remedy = "Run manage.py absurd_enable on a host of the system."

    def __init__(self, message: str = "Absurd is disabled: run manage.py absurd_enable") -> None:
        super().__init__(message)


class TooSlow(TryLater):
    """No index serves the query, and reading all rows takes too long."""

    code = "too_slow"
    text = "the query took longer than {:g} s"
    remedy = "Select fewer tasks with status, queue_name, run_id or a time of completion."


class FilesBusy(TryLater):
    """A file system does not answer in time, or too many files are being sent."""

    code = "files_busy"
    text = "files below {} cannot be read now: the file system does not answer, or is in heavy use"
    remedy = "Try again later; if it persists, check whether the mount answers (ls, dmesg) and remount it."


class RangeNotSatisfiable(AbsurdError):
    """The file has no such bytes."""

    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the file has {size} bytes; the requested range is outside it")


class NotClaimable(AbsurdError):
    """A certain task was to be claimed that cannot be claimed now; made of its id and the reason."""

    code = "not_claimable"
    text = "task {} cannot be claimed now: {}"


class TaskCancelled(AbsurdError):
    """An operator cancelled the task. Named in the results of Django tasks."""

    code = "task_cancelled"


class AttemptFailed(AbsurdError):
    """An attempt ended without an exception of its own: its worker was lost, or it was stopped. Named in results."""

    code = "attempt_failed"
