"""What a read of the API costs, counted in changes of threads, connections, statements and calls, not by a clock."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import httpx
import pytest
from asgiref.sync import SyncToAsync
from asgiref.testing import ApplicationCommunicator
from django.db import connection
from django.test.utils import CaptureQueriesContext
from redis import Redis

from absurd_project.local import servers
from absurd_project.local.locations import CHECKOUT
from absurd_project.routing import make_application
from tasks_app.auth import keys
from tasks_app.engine import lookup
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.lease import report_progress
from tasks_app.models import Run, Task
from tasks_app.postgresql import clock
from tests.daphne_server import serving
from tests.tasks_app.callers import Caller, make_key, make_user
from tests.tasks_app.listeners import in_thread
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note


def one_of_each() -> list[Task]:
    """Return tasks that between them have something in every field."""
    worker, run = make_worker(), Run.objects.create(workflow="standard-pipeline")
    completed, broken, claimed = (spawn_note(priority=20 - n, run=run, stage=f"s{n}") for n in range(3))
    complete_task(claim_one(worker), {"text": "é", "n": [1, 2.5, None]}, REPORT)
    fail_attempt(claim_one(worker), "invalid", "no such file\nTraceback", REPORT)
    report_progress(claim_one(worker), fraction=0.25, message="a quarter", metrics={"rms_jy": 0.001})
    later = spawn_note(scheduled_at=clock.now() + timedelta(hours=1), expires_at=clock.now() + timedelta(hours=2))
    waiting = spawn_note(
        depends_on=[claimed.task_id], concurrency_key="disk", total_timeout_sec=60.0, idle_timeout_sec=5
    )
    return [lookup.find(task.task_id) for task in (completed, broken, claimed, later, waiting)]


@pytest.mark.django_db
def test_fields_are_not_looked_up_again_for_every_row():
    spawn_note()
    few, many = (_calls_of_a_list(rows) for rows in (10, 110))
    # About 1,330 as it is; a worker and a run loaded for each task would add several hundred.
    assert (many - few) / 100 < 1_500, (many - few) / 100


def _calls_of_a_list(rows: int) -> int:
    while Task.objects.count() < rows:
        spawn_note()
    api, calls = Caller(make_key("read")), 0
    assert len(api.get("tasks?limit=500").body["tasks"]) == rows

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        api.get("tasks?limit=500")
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.django_db
def test_a_detail_takes_three_statements_and_a_page_of_any_length_as_many_as_a_short_one(monkeypatch):
    monkeypatch.setattr(
        keys, "USE_INTERVAL_SEC", 3600.0
    )  # nothing is written of the key in between, however long it takes
    task, api = one_of_each()[0], Caller(make_key("read", owner=make_user("olga")))
    api.get("tasks")
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert api.get(f"tasks/{task.task_id}").status_code == 200
    assert len(asked) == 3, [query["sql"] for query in asked]  # the key and its owner, the task, what it depends on
    counts = []
    for limit in (1, 4):
        with CaptureQueriesContext(connection) as asked:
            assert len(api.get(f"tasks?limit={limit}").body["tasks"]) == limit
        counts.append(len(asked))
    assert counts[0] == counts[1]


@pytest.mark.django_db(transaction=True)
async def test_a_request_is_handed_to_its_thread_three_times(monkeypatch):
    trips: list[str] = []
    call = SyncToAsync.__call__

    async def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        trips.append(str(self.func))
        return await call(self, *args, **kwargs)

    task, key = await in_thread(spawn_note)(), await in_thread(make_key)("read")
    application = make_application()
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/api/absurd/tasks/{task.task_id}",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"x-api-key", key.encode())],
        "client": ("192.0.2.7", 1),
        "server": ("127.0.0.1", 8000),
    }
    client = ApplicationCommunicator(application, scope)
    monkeypatch.setattr(SyncToAsync, "__call__", counted)
    await client.send_input({"type": "http.request", "body": b""})
    assert (await client.receive_output(60))["status"] == 200
    assert json.loads((await client.receive_output(60))["body"])["task_id"] == str(task.task_id)
    await client.wait(60)
    assert len(trips) == 3, trips  # the signal that it begins, the answer, the end


@pytest.mark.django_db(transaction=True)
def test_a_web_process_counts_requests_over_one_connection_and_serves_static_files(live_environment, private_servers):
    environment = live_environment | {"ABSURD_REDIS_URL": servers.redis_url(private_servers)}
    key, redis = make_key("read"), Redis.from_url(environment["ABSURD_REDIS_URL"])
    with serving(environment) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/api/absurd/tasks", headers={"X-API-Key": key}).status_code == 200
        before = redis.info("stats")["total_connections_received"]
        for _ in range(20):
            client.get("/api/absurd/tasks", headers={"X-API-Key": key})
        assert redis.info("stats")["total_connections_received"] - before < 10
        assert any(int(redis.get(name) or 0) > 1 for name in redis.keys("*:key:*"))
        style = client.get("/static/admin/css/base.css")
        known = client.get("/static/admin/css/base.css", headers={"If-None-Match": style.headers["ETag"]})
    redis.close()
    assert (style.status_code, style.headers["Content-Type"]) == (200, 'text/css; charset="utf-8"')
    assert (known.status_code, len(style.content) > 1000) == (304, True)
    for name in ("X-Request-ID", "Content-Security-Policy", "X-Content-Type-Options"):
        assert name in style.headers


@pytest.mark.django_db(transaction=True)
def test_collections_spare_what_a_web_process_has_loaded_and_threads_take_turns(live_environment):
    figures = "gc.get_freeze_count(), len(gc.get_objects()), sys.getswitchinterval()"
    output = f"import gc, sys, absurd_project.asgi; print({figures})"
    answer = subprocess.run(
        [sys.executable, "-c", output], cwd=CHECKOUT, env=live_environment, capture_output=True, text=True, check=True
    )
    frozen, young, turn_sec = (float(word) for word in answer.stdout.split())
    assert frozen > 100_000 and young < frozen / 20
    assert turn_sec < 0.005
