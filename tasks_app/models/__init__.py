"""The queue's tables."""

from tasks_app.models.api_key import ApiKey
from tasks_app.models.archive import ArchivedTask
from tasks_app.models.attempt import Attempt
from tasks_app.models.count import CountDelta, QueueCount
from tasks_app.models.event import TaskEvent
from tasks_app.models.freeze import Freeze
from tasks_app.models.idempotency import IdempotencyKey
from tasks_app.models.limit import Limit, LimitSlot
from tasks_app.models.queue import Queue
from tasks_app.models.reservation import Reservation
from tasks_app.models.run import Run, TaskDependency
from tasks_app.models.schedule import CatchUp, Schedule
from tasks_app.models.system import Acknowledgement, SystemState
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
    "Limit",
    "LimitSlot",
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
