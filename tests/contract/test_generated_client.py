"""A Python client that openapi-python-client makes from the schema drives a running server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tests.daphne_server import serving
from tests.tasks_app.callers import make_key
from tests.tasks_app.notes import REPORT, make_worker

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "generated_absurd_client"
NOT_JSON = {"GET /api/absurd/pipeline/products/{id}/preview within pipeline."}
"""What the generator leaves out: a picture."""


def generate(schema: bytes, directory: Path) -> None:
    """Make the package of that name; everything that the generator warns of is a fault of the schema."""
    (directory / "schema.json").write_bytes(schema)
    (directory / "config.yaml").write_text("post_hooks: []\n")
    program = str(Path(sys.executable).with_name("openapi-python-client"))
    done = subprocess.run(
        [
            *(program, "generate", "--path", "schema.json", "--output-path", NAME),
            *("--meta", "none", "--config", "config.yaml"),
        ],
        cwd=directory, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    warned = {line.removeprefix("WARNING parsing ") for line in said.splitlines() if line.startswith("WARNING")}
    assert warned == NOT_JSON, said


def call(client: Any, operation: str, *path: str, **arguments: Any) -> Any:
    """Call an operation, `tag.name`, and return what its answer was parsed into."""
    function: Callable[..., Any] = import_module(f"{NAME}.api.{operation}").sync_detailed
    return function(*path, client=client, **arguments).parsed


def test_a_generated_client_spawns_lists_reads_cancels_and_understands_errors(live_environment, tmp_path, monkeypatch):
    key = make_key("read", "spawn", "operate")
    with serving(live_environment) as port:
        root = f"http://127.0.0.1:{port}"
        generate(httpx.get(f"{root}/api/absurd/schema", headers={"X-API-Key": key}, timeout=60).content, tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        models = import_module(f"{NAME}.models")
        made = import_module(f"{NAME}.client").AuthenticatedClient(
            base_url=root, token=key, prefix="", auth_header_name="X-API-Key", timeout=httpx.Timeout(60)
        )
        with made as client:
            _spawn_and_list(client, models)
            _finish_and_read(client, models)
            _cancel_twice(client, models)
            _refusals(client, models)


def _options(models: Any, **options: Any) -> Any:
    return models.TaskOptions.from_dict({"task_name": "echo", "params": {"value": 1}} | options)


def _spawn_and_list(client: Any, models: Any) -> None:
    first = call(client, "tasks.spawn_task", body=_options(models, priority=7), idempotency_key="night-7")
    assert isinstance(first.task_id, UUID) and (first.status, first.priority) == ("pending", 7)
    again = call(client, "tasks.spawn_task", body=_options(models, priority=7), idempotency_key="night-7")
    assert again.task_id == first.task_id
    second = call(client, "tasks.spawn_task", body=_options(models))
    pending = models.ListTasksStatusItem.PENDING
    page = call(client, "tasks.list_tasks", status=[pending], task_name="echo", limit=1)
    assert ([each.task_id for each in page.tasks], page.total, bool(page.next_)) == ([second.task_id], 2, True)
    assert call(client, "tasks.list_tasks", status=[models.ListTasksStatusItem.FAILED]).tasks == []


def _finish_and_read(client: Any, models: Any) -> None:
    (claim,) = claim_tasks(make_worker(), limit=1)
    complete_task(claim, {"flux_jy": 1.5}, REPORT)
    found = call(client, "tasks.get_task", str(claim.task_id))
    assert (found.status, found.result) == ("completed", {"flux_jy": 1.5}) and found.completed_at is not None
    events = call(client, "tasks.task_events", str(claim.task_id)).events
    assert [each.event_type for each in events][-1] == "completed"
    workers = call(client, "workers.list_workers")
    assert (workers.totals.workers, workers.workers[0].worker_id) == (1, "worker-1")
    health = call(client, "health.health")
    assert health.database_available is True and isinstance(health.queue_depth, int)


def _cancel_twice(client: Any, models: Any) -> None:
    (left,) = call(client, "tasks.list_tasks", status=[models.ListTasksStatusItem.PENDING]).tasks
    assert call(client, "tasks.cancel_task", str(left.task_id), reason="only a trial").status == "cancelled"
    refused = call(client, "tasks.cancel_task", str(left.task_id))
    assert isinstance(refused, models.Problem)
    assert (refused.status, refused.code, refused.current_status) == (409, "invalid_transition", "cancelled")


def _refusals(client: Any, models: Any) -> None:
    unknown = call(client, "tasks.spawn_task", body=_options(models, task_name="no-such-name"))
    wrong = call(client, "tasks.spawn_task", body=_options(models, priority=99))
    assert (unknown.status, unknown.code) == (422, "unknown_task_name")
    assert [each.additional_properties["path"] for each in wrong.errors] == ["priority"]
    assert call(client, "tasks.list_tasks", task_name="").status == 400, "an empty condition is no condition"
    assert call(client, "limits.set_limit", "key", "dish", body=models.Size(size=1)).status == 403
