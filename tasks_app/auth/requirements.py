"""What a caller must have: the scope of a key, or the permission of a person. Each operation declares its own."""

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
