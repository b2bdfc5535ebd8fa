"""Handlers that end in every way a handler can end by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from django.db import connection
from pydantic import BaseModel

from tasks_app.engine.claim import Claim
from tasks_app.engine.handler import Context, InvalidInput, NoWork
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.registry import TaskSpec
from tasks_app.engine.spawn import spawn
from tasks_app.models import Task


class Params(BaseModel):
    how: Literal["well", "error", "invalid", "no_work", "memory", "exit", "nan", "list", "foreign"] = "well"
    message: str = "as asked"


def run(params: Params, context: Context) -> Any:
    """End as asked; well: write one product, report progress and return where it is."""
    raised = {"error": RuntimeError, "invalid": InvalidInput, "no_work": NoWork, "memory": MemoryError}
    if params.how in raised:
        raise raised[params.how](params.message)
    if params.how == "exit":
        raise SystemExit(3)
    if params.how != "well":
        return {"nan": {"rms_jy": float("nan")}, "list": [1], "foreign": {"at": object()}}[params.how]
    path = context.output("note.txt")
    path.write_text(params.message)
    context.product("text", path, metrics={"characters": len(params.message)}, inputs=["/data/raw"])
    context.progress(0.5, "half")
    return {"path": context.published(path), "attempt": context.attempt}


def interrupted(params: Params, context: Context) -> None:
    raise KeyboardInterrupt


def without_model(params: dict, context: Context) -> None:
    """Not a handler: its params are no model."""


def spoiling(params: Params, context: Context) -> None:
    """Leave the database connection in a failed transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")


def spawning(params: Params, context: Context) -> None:
    """Spawn another of its kind, for ever."""
    spawn(TaskOptions(task_name=context.task_name), actor=f"task:{context.task_id}")


def losing(params: Params, context: Context) -> None:
    """Let the claim go to somebody else while it works."""
    Task.objects.filter(task_id=context.task_id).update(claim_token="00000000-0000-0000-0000-000000000001")


def keep(task: Task, claim: Claim, products: Sequence[Mapping[str, Any]]) -> None:
    """An `on_complete` that stores the products with the task."""
    Task.objects.filter(pk=task.pk).update(params={"kept": list(products)})


def refuse(*_: Any) -> None:
    """An `on_complete` that cannot store what it gets."""
    raise ValueError("no room")


def spec(name: str = "kit", function: str = "run", **fields: Any) -> TaskSpec:
    return TaskSpec(name=name, handler=f"tests.tasks_app.kit_handlers:{function}", params_model=Params, **fields)
