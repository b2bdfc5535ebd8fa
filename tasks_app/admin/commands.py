"""The same by curl and by Python: what a page of the console does, for a script."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from tasks_app.models import Task


def body_of(task: Task) -> dict[str, Any]:
    """Return the request that spawns the same task again."""
    return {"task_name": task.task_name, "queue_name": task.queue_id, "params": task.params, "priority": task.priority}


def commands(request: HttpRequest, path: str, body: Mapping[str, Any]) -> dict[str, str]:
    """Return the command and the program that send a body to `tasks`, or to `tasks/ID/respawn`."""
    server = f"{request.scheme}://{request.get_host()}"
    text = json.dumps(body, ensure_ascii=False)
    curl = (
        f"curl -X POST {shlex.quote(f'{server}/api/absurd/{path}')} -H 'Content-Type: application/json' "
        f'-H "X-API-Key: $ABSURD_API_KEY" -d {shlex.quote(text)}'
    )
    if path == "tasks":
        named = {name: value for name, value in body.items() if name not in ("task_name", "params")}
        call, arguments = "spawn", [repr(body["task_name"]), repr(body.get("params", {}))]
    else:
        _, task_id, operation = path.split("/")
        named, call, arguments = dict(body), "operate", ["'task'", repr(operation), repr(task_id)]
    arguments += [f"{name}={value!r}" for name, value in named.items()]
    start = f'async with AbsurdClient({server!r}, api_key=os.environ["ABSURD_API_KEY"]) as client:'
    return {"curl": curl, "Python": f"{start}\n    await client.{call}({', '.join(arguments)})"}
