"""Spawn a batch of tasks for a caller from outside: all or none, once a key, with the path of every fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.db import transaction

from tasks_app.engine import idempotency
from tasks_app.engine.options import SpawnRequest
from tasks_app.engine.spawn import spawn, spawn_many
from tasks_app.errors import ParamsInvalid, UnknownTaskName
from tasks_app.models import Task

TASKS_MOST = 500
_ROOM_FOR_NUMBER = 10


class _Undo(Exception):
    """Takes back what was only tried."""


def spawn_batch(requests: Sequence[SpawnRequest], *, actor: str, key: str | None = None) -> tuple[list[Task], bool]:
    """Create all tasks or none; return them in order, and whether the key had made them before.

    Beside the key of the whole a request may have one of its own. Raises Disabled, IdempotencyConflict, and
    ParamsInvalid with paths such as `tasks.7.params.ms_path`.
    """
    try:
        return _spawned(requests, actor, key)
    except (ParamsInvalid, UnknownTaskName) as error:
        faults = list(_faults(requests, actor))
        if not faults:
            raise
        raise ParamsInvalid(faults) from error


@transaction.atomic
def _spawned(requests: Sequence[SpawnRequest], actor: str, key: str | None) -> tuple[list[Task], bool]:
    if key is None:
        return spawn_many(requests, actor=actor), False
    if len(key) > idempotency.KEY_CHARS - _ROOM_FOR_NUMBER:
        most = idempotency.KEY_CHARS - _ROOM_FOR_NUMBER
        raise ParamsInvalid([{"path": "idempotency_key", "message": f"write 1 to {most} characters for a batch"}])
    keyed = [
        replace(request, idempotency_key=request.idempotency_key or f"{key}/{number}")
        for number, request in enumerate(requests)
    ]
    content = [[request.idempotency_key, idempotency.fingerprint(request)] for request in keyed]
    made: list[Task] = []

    def make() -> Any:
        made.extend(spawn_many(keyed, actor=actor))
        return made[0].task_id

    _, repeated = idempotency.once(key, content, caller=actor, make=make)
    # What was made before is found by the keys of the single tasks.
    return (spawn_many(keyed, actor=actor), True) if repeated else (made, False)


def _faults(requests: Sequence[SpawnRequest], actor: str) -> Iterator[Mapping[str, Any]]:
    """Yield what is wrong with each request, by trying each for itself."""
    for number, request in enumerate(requests):
        path = f"tasks.{number}"
        try:
            with transaction.atomic():
                spawn(replace(request, idempotency_key=None), actor=actor)
                raise _Undo
        except _Undo:
            continue
        except UnknownTaskName as error:
            yield {"path": f"{path}.task_name", "message": str(error)}
        except ParamsInvalid as error:
            for problem in error.problems:
                yield {**problem, "path": f"{path}.{problem['path']}"}
