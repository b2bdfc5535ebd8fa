"""The queue through its public functions."""

from __future__ import annotations

from typing import Any

from absurd_project.benchmark import noop
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import Completion, complete_tasks
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn, spawn_many
from tasks_app.models import Worker


class Ours:
    """Spawns, claims and completes as a program that uses the queue does."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def spawn_one(self) -> None:
        """Spawn one task."""
        spawn(self._request(), actor=noop.ACTOR)

    def spawn_many(self, count: int) -> None:
        """Spawn many in one call."""
        spawn_many([self._request() for _ in range(count)], actor=noop.ACTOR)

    def claim(self, limit: int) -> list[Any]:
        """Claim a batch."""
        return claim_tasks(self._worker, limit=limit)

    def complete(self, claims: list[Any]) -> None:
        """Complete a batch."""
        complete_tasks([Completion(claim=claim, result=noop.RESULT) for claim in claims])

    @staticmethod
    def _request() -> TaskOptions:
        return TaskOptions(task_name=noop.NAME, params=noop.PARAMS, queue_name=noop.QUEUE)
