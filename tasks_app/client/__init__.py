"""A client for programs: the queue by way of a server, or of its database. Importing it imports no Django."""

from __future__ import annotations

from tasks_app.client.client import AbsurdClient
from tasks_app.client.faults import (
    DatabaseNotReady,
    NotAuthenticated,
    NotConnected,
    NotPermitted,
    RequestRefused,
    ServerFault,
    TooManyRequests,
    Unavailable,
    WaitTimedOut,
    WrongAddress,
)
from tasks_app.client.values import AbsurdConfig, FeedEvent, Health, NewTask, QueueStats, TaskInfo
from tasks_app.errors import (
    AbsurdError,
    Disabled,
    IdempotencyConflict,
    InvalidTransition,
    ParamsInvalid,
    QueueNotFound,
    TaskArchived,
    TaskNotFound,
    UnknownTaskName,
)

__all__ = [
    "AbsurdClient",
    "AbsurdConfig",
    "AbsurdError",
    "DatabaseNotReady",
    "Disabled",
    "FeedEvent",
    "Health",
    "IdempotencyConflict",
    "InvalidTransition",
    "NewTask",
    "NotAuthenticated",
    "NotConnected",
    "NotPermitted",
    "ParamsInvalid",
    "QueueNotFound",
    "QueueStats",
    "RequestRefused",
    "ServerFault",
    "TaskArchived",
    "TaskInfo",
    "TaskNotFound",
    "TooManyRequests",
    "Unavailable",
    "UnknownTaskName",
    "WaitTimedOut",
    "WrongAddress",
]
