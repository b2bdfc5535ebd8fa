"""The queue's tables."""

from tasks_app.models.history import ArchivedTask, Attempt, TaskEvent
from tasks_app.models.queue import (
    CatchUp,
    CountDelta,
    Limit,
    LimitSlot,
    Queue,
    QueueCount,
    Reservation,
    Run,
    Schedule,
    TaskDependency,
)
from tasks_app.models.system import Acknowledgement, ApiKey, Freeze, IdempotencyKey, LastBackup, Notice, SystemState
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
