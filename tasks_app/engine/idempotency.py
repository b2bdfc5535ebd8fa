"""Keys by which a repeated spawn finds the task, or the run, that it made before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from django.db import connection, transaction

from tasks_app.engine import lookup
from tasks_app.errors import IdempotencyConflict, ParamsInvalid
from tasks_app.models import IdempotencyKey, Task

if TYPE_CHECKING:
    from tasks_app.engine.options import SpawnRequest

KEY_CHARS = 200

# Waits for whoever is about to commit the same key, so that afterwards the key is known for certain.
_RESERVE = """
INSERT INTO tasks_app_idempotencykey (caller, key, fingerprint, task_id, created_at)
SELECT %s, key, fingerprint, task_id, absurd_now()
FROM unnest(%s::text[], %s::text[], %s::uuid[]) AS wanted(key, fingerprint, task_id)
ORDER BY key
ON CONFLICT (caller, key) DO NOTHING
RETURNING key
"""


def reserve(wanted: Sequence[tuple[str | None, str, Task]], *, caller: str) -> dict[UUID, Task]:
    """Take the caller's keys for the tasks that are about to be spawned.

    Returns, by the task id that is not to be used, the task which a key found instead. Raises IdempotencyConflict when
    a key was used for other content.
    """
    keyed = [(key, print_, task) for key, print_, task in wanted if key is not None]
    if not keyed:
        return {}
    stored = _take(caller, [(key, print_, task.task_id) for key, print_, task in keyed])
    own = {task.task_id: task for _, _, task in keyed}
    found: dict[UUID, Task] = {}
    for key, print_, task in keyed:
        row = stored[key]
        if row.fingerprint != print_:
            raise IdempotencyConflict(key)
        if row.task_id != task.task_id:
            found[task.task_id] = own.get(row.task_id) or lookup.find(row.task_id)
    return found


@transaction.atomic
def once(key: str, content: object, *, caller: str, make: Callable[[], UUID]) -> tuple[UUID, bool]:
    """Make something under the caller's key; or return what the key made before, and True.

    `content` is what was asked for, as JSON. A second caller waits until the first has made it or given up. Raises
    ParamsInvalid for what is no key, IdempotencyConflict, and what `make` raises.
    """
    check_key(key)
    print_, mark = _digest(content), uuid4()
    row = _take(caller, [(key, print_, mark)])[key]
    if row.fingerprint != print_:
        raise IdempotencyConflict(key)
    if row.task_id != mark:
        return row.task_id, True
    made = make()
    IdempotencyKey.objects.filter(pk=row.pk).update(task_id=made)
    return made, False


def check_key(key: str) -> None:
    """Raise ParamsInvalid for what cannot be a key."""
    if not 1 <= len(key) <= KEY_CHARS:
        raise ParamsInvalid([{"path": "idempotency_key", "message": f"write 1 to {KEY_CHARS} characters"}])


def _take(caller: str, wanted: Sequence[tuple[str, str, UUID]]) -> dict[str, IdempotencyKey]:
    """Store the keys that are new, with their fingerprints and what they find; return the rows of all."""
    keys = [key for key, _, _ in wanted]
    with connection.cursor() as cursor:
        cursor.execute(_RESERVE, [caller, keys, [print_ for _, print_, _ in wanted], [found for _, _, found in wanted]])
        cursor.fetchall()
    return {row.key: row for row in IdempotencyKey.objects.filter(caller=caller, key__in=keys)}


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def fingerprint(request: SpawnRequest) -> str:
    """Return a digest of everything that makes two requests ask for the same."""
    if request.idempotency_key is None:
        return ""
    content = {
        "task_name": request.task_name,
        "queue_name": request.queue_name,
        "params": dict(request.params),
        "bindings": {name: binding.stored() for name, binding in request.bindings.items()},
        "priority": request.priority,
        "timeout_sec": request.timeout_sec,
        "max_retries": request.max_retries,
        "queue_timeout_sec": request.queue_timeout_sec,
        "total_timeout_sec": request.total_timeout_sec,
        "idle_timeout_sec": request.idle_timeout_sec,
        "concurrency_key": request.concurrency_key,
        "scheduled_at": request.scheduled_at.isoformat() if request.scheduled_at else None,
        "expires_at": request.expires_at.isoformat() if request.expires_at else None,
        "depends_on": sorted(map(str, request.depends_on)),
        "depends_on_runs": sorted(map(str, request.depends_on_runs)),
        "join": None if request.join is None else [request.join.quorum, request.join.deadline_sec],
    }
    return _digest(content)
