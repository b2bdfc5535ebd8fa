"""The operations console in the Django admin: lists, pages, buttons with confirmation."""

from __future__ import annotations

from django.conf import settings

if settings.ABSURD_CONSOLE:
    from tasks_app.admin import (  # noqa: F401 - each registers its pages
        api_keys,
        archive,
        documents,
        events,
        health_page,
        help,
        limits,
        pages,
        people,
        queues,
        runs,
        schedules,
        search,
        system,
        tasks,
        workers,
    )
    from tasks_app.models import Freeze, Queue, Run, Schedule, Task, TaskEvent, Worker

    for order, model, label in (
        (10, Task, ""), (12, Run, ""), (70, Worker, ""), (72, Queue, ""), (74, Schedule, ""),
        (90, TaskEvent, "Activity"),
    (99, Freeze, "Emergency"),
    ):  # fmt: skip
        pages.add_list(model, order=order, label=label)
