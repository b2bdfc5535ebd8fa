"""A task name that only tests know, and short ways to make and claim its tasks."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasks_app import claiming, registry
from tasks_app.actions.spawn import SpawnRequest, spawn
from tasks_app.models import Task, TaskEvent, Worker


class NoteParams(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str
    copies: int = Field(default=1, ge=1, le=9)


NOTE = registry.TaskSpec(name="note", handler="tests.tasks_app.notes:never_called", params_model=NoteParams)


class GatherParams(BaseModel):
    model_config = ConfigDict(extra="forbid")
    titles: list[str]


GATHER = registry.TaskSpec(name="gather", handler="tests.tasks_app.notes:never_called", params_model=GatherParams)
REPORT = claiming.AttemptReport()


def spawn_note(**options: Any) -> Task:
    options.setdefault("params", {"text": "hello"})
    return spawn(SpawnRequest(task_name="note", **options), actor="user:test")


def claim_one(worker: Worker) -> claiming.Claim:
    (claim,) = claiming.claim(worker, limit=1)
    return claim


def verbs(task: Task) -> list[str]:
    return list(TaskEvent.objects.filter(task_id=task.task_id).order_by("id").values_list("verb", flat=True))


def make_worker(**fields: Any) -> Worker:
    defaults = {"label": "worker-1", "host": "test", "host_id": "test", "pid": 1, "queues": ["dsa110-pipeline"]}
    return Worker.objects.create(**{**defaults, "concurrency": 4, **fields})
