"""The operations console in the Django admin: lists, pages, buttons with confirmation."""

from __future__ import annotations

from tasks_app.admin import help, pages, search
from tasks_app.admin.api_keys import ApiKeyAdmin
from tasks_app.admin.archive import ArchivedTaskAdmin
from tasks_app.admin.events import TaskEventAdmin
from tasks_app.admin.limits import LimitAdmin
from tasks_app.admin.people import PersonAdmin
from tasks_app.admin.queues import QueueAdmin
from tasks_app.admin.runs import RunAdmin
from tasks_app.admin.schedules import ScheduleAdmin
from tasks_app.admin.system import FreezeAdmin
from tasks_app.admin.tasks import TaskAdmin
from tasks_app.admin.workers import WorkerAdmin
from tasks_app.models import Queue, Run, Schedule, Task, TaskEvent, Worker

for order, model, label in (
    (10, Task, ""), (12, Run, ""), (70, Worker, ""), (72, Queue, ""), (74, Schedule, ""), (90, TaskEvent, "Activity"),
):  # fmt: skip
    pages.add_list(model, order=order, label=label)

__all__ = [
    "ApiKeyAdmin",
    "ArchivedTaskAdmin",
    "FreezeAdmin",
    "LimitAdmin",
    "PersonAdmin",
    "QueueAdmin",
    "RunAdmin",
    "ScheduleAdmin",
    "TaskAdmin",
    "TaskEventAdmin",
    "WorkerAdmin",
    "help",
    "search",
]
