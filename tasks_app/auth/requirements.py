"""What a caller must have for each kind of deed: the scope of a key, or the permission of a person."""

from __future__ import annotations

from dataclasses import dataclass

from tasks_app.auth.keys import Scope


@dataclass(frozen=True, kw_only=True)
class Need:
    """The scope that a key must have, and the Django permission that a person must have."""

    scope: Scope
    permission: str


READ = Need(scope="read", permission="tasks_app.view_task")
SPAWN = Need(scope="spawn", permission="tasks_app.spawn_task")
CANCEL = Need(scope="operate", permission="tasks_app.cancel_task")
RETRY = Need(scope="operate", permission="tasks_app.retry_task")
REPRIORITIZE = Need(scope="operate", permission="tasks_app.reprioritize_task")
PAUSE = Need(scope="operate", permission="tasks_app.pause_queue")
CANCEL_RUN = Need(scope="operate", permission="tasks_app.cancel_run")
RETRY_RUN = Need(scope="operate", permission="tasks_app.retry_run")
BULK = Need(scope="operate", permission="tasks_app.retry_task")
"""The verb itself needs its own permission as well."""
RESPAWN = Need(scope="spawn", permission="tasks_app.respawn_task")
REQUEUE = Need(scope="operate", permission="tasks_app.requeue_task")
FREEZE = Need(scope="operate", permission="tasks_app.freeze_everything")
EMERGENCY = Need(scope="admin", permission="tasks_app.change_freeze")
SET_LIMIT = Need(scope="admin", permission="tasks_app.set_limit")
CHANGE_SCHEDULE = Need(scope="admin", permission="tasks_app.change_schedule")
DELETE_SCHEDULE = Need(scope="admin", permission="tasks_app.delete_schedule")
ACKNOWLEDGE = Need(scope="operate", permission="tasks_app.add_acknowledgement")
ORDER_WORKER = Need(scope="operate", permission="tasks_app.order_worker")
RUN_SCHEDULE = Need(scope="operate", permission="tasks_app.run_schedule")
