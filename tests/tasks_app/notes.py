"""A task name that only tests know, and short ways to make and claim its tasks."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasks_app.engine import registry
from tasks_app.engine.claim import Claim, claim_tasks
from tasks_app.engine.fail import AttemptReport
from tasks_app.engine.handler import Context
from tasks_app.engine.spawn import NewTask, spawn
from tasks_app.models import Task, TaskEvent, Worker
from tasks_app.testing import make_worker

__all__ = ["GATHER", "NOTE", "REPORT", "NoteParams", "claim_one", "event_types", "make_worker", "spawn_note"]


class NoteParams(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str
    copies: int = Field(default=1, ge=1, le=9)


def write(params: NoteParams, context: Context) -> dict[str, str]:
    return {"text": params.text * params.copies}


NOTE = registry.TaskSpec(name="note", handler="tests.tasks_app.notes:write", params_model=NoteParams)


class GatherParams(BaseModel):
    model_config = ConfigDict(extra="forbid")
    titles: list[str]


GATHER = registry.TaskSpec(name="gather", handler="tests.tasks_app.notes:never_called", params_model=GatherParams)
REPORT = AttemptReport()


def spawn_note(**options: Any) -> Task:
    options.setdefault("params", {"text": "hello"})
    return spawn(NewTask.of(**{"task_name": "note"} | options), actor="user:test")


def claim_one(worker: Worker) -> Claim:
    (claim,) = claim_tasks(worker, limit=1)
    return claim


def event_types(task: Task) -> list[str]:
    return list(TaskEvent.objects.filter(task_id=task.task_id).order_by("id").values_list("event_type", flat=True))
