"""Keys by which a repeated spawn finds the task, or the run, that it made before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

from django.db import connection, transaction

from tasks_app.engine.options import KEY_CHARS
from tasks_app.errors import IdempotencyConflict, ParamsInvalid
from tasks_app.models import IdempotencyKey

# Waits for a transaction that is about to commit the same key, so that afterwards the key is known for certain.
_RESERVE = """
INSERT INTO tasks_app_idempotencykey (caller, key, fingerprint, task_id, created_at)
SELECT %s, key, fingerprint, task_id, absurd_now()
FROM unnest(%s::text[], %s::text[], %s::uuid[]) AS wanted(key, fingerprint, task_id)
ORDER BY key
ON CONFLICT (caller, key) DO NOTHING
RETURNING key
"""


def reserve(wanted: Sequence[tuple[str, object, UUID]], *, caller: str) -> dict[UUID, UUID]:
    """Take the caller's keys for tasks that are about to be spawned: of each its key, its content as JSON and its id.

    Returns, by the task id that is not to be used, that of the task which a key found instead. Raises
    IdempotencyConflict when a key was used for other content.
    """
    if not wanted:
        return {}
    keyed = [(key, _digest(content), task_id) for key, content, task_id in wanted]
    stored = _take(caller, keyed)
    found: dict[UUID, UUID] = {}
    for key, print_, task_id in keyed:
        row = stored[key]
        if row.fingerprint != print_:
            raise IdempotencyConflict(key)
        if row.task_id != task_id:
            found[task_id] = row.task_id
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
        raise ParamsInvalid(
            [{"path": "idempotency_key", "message": f"must be 1 to {KEY_CHARS} characters long (got {len(key)})"}]
        )


def _take(caller: str, wanted: Sequence[tuple[str, str, UUID]]) -> dict[str, IdempotencyKey]:
    """Store the keys that are new, with their fingerprints and what they find; return the rows of all."""
    keys = [key for key, _, _ in wanted]
    with connection.cursor() as cursor:
        cursor.execute(_RESERVE, [caller, keys, [print_ for _, print_, _ in wanted], [found for _, _, found in wanted]])
        cursor.fetchall()
    return {row.key: row for row in IdempotencyKey.objects.filter(caller=caller, key__in=keys)}


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
