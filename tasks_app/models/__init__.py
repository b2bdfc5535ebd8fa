"""The queue's tables."""

from tasks_app.models.api_key import ApiKey
from tasks_app.models.attempt import Attempt
from tasks_app.models.event import TaskEvent
from tasks_app.models.idempotency import IdempotencyKey
from tasks_app.models.queue import Queue
from tasks_app.models.run import Run, TaskDependency
from tasks_app.models.task import Hold, Task, TaskStatus
from tasks_app.models.worker import Worker

__all__ = [
    "ApiKey",
    "Attempt",
    "Hold",
    "IdempotencyKey",
    "Queue",
    "Run",
    "Task",
    "TaskDependency",
    "TaskEvent",
    "TaskStatus",
    "Worker",
]
