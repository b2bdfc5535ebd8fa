"""The queue's tables."""

from tasks_app.models.api_key import ApiKey
from tasks_app.models.archive import ArchivedTask
from tasks_app.models.history import Attempt, TaskEvent
from tasks_app.models.limit import Limit, LimitSlot, Reservation
from tasks_app.models.queue import CountDelta, Queue, QueueCount
from tasks_app.models.run import Run, TaskDependency
from tasks_app.models.schedule import CatchUp, Schedule
from tasks_app.models.system import Acknowledgement, Freeze, IdempotencyKey, LastBackup, Notice, SystemState
from tasks_app.models.task import Hold, Task, TaskStatus
from tasks_app.models.worker import Worker, WorkerOrder

__all__ = [
    "Acknowledgement",
    "ApiKey",
    "ArchivedTask",
    "Attempt",
    "CatchUp",
    "CountDelta",
    "Freeze",
    "Hold",
    "IdempotencyKey",
    "LastBackup",
    "Limit",
    "LimitSlot",
    "Notice",
    "Queue",
    "QueueCount",
    "Reservation",
    "Run",
    "Schedule",
    "SystemState",
    "Task",
    "TaskDependency",
    "TaskEvent",
    "TaskStatus",
    "Worker",
    "WorkerOrder",
]
