"""Tools for tests of tasks: a frozen clock, draining a queue, handlers called directly, factories."""

from __future__ import annotations

from tasks_app.testing.attempts import LocalAttempt, LocalContext, run_handler
from tasks_app.testing.draining import DrainReport, drain, run_task
from tasks_app.testing.factories import make_run, make_task, make_worker, registered
from tasks_app.testing.frozen import FrozenClock, frozen_clock

__all__ = [
    "DrainReport",
    "FrozenClock",
    "LocalAttempt",
    "LocalContext",
    "drain",
    "frozen_clock",
    "make_run",
    "make_task",
    "make_worker",
    "registered",
    "run_handler",
    "run_task",
]
