"""Web and worker behind the real PgBouncer in transaction mode, with the settings of deploy/."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.conf import settings

from absurd_project.local import unprivileged
from tasks_app.models import Task
from tests.daphne_server import free_port, serving
from tests.workers.live import ROOT, LiveWorkers, attempts

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="apt-get install pgbouncer"),
]
START_SEC = 20.0
POOL_SIZE = 3
LIMITS_SEEN = """
import django
django.setup()
from django.db import connection, transaction
from workers.db_connection import use_single_connection
use_single_connection()
names = ("statement_timeout", "idle_in_transaction_session_timeout")
def shown(name):
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return cursor.fetchone()[0]
with transaction.atomic():
    print(*map(shown, names))
print(*map(shown, names))
"""


@pytest.fixture
def behind_pgbouncer(live_environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of processes whose only way to the test's database leads through PgBouncer."""
    database, port = settings.DATABASES["default"], free_port()
    url = f"postgresql://postgres@127.0.0.1:{port}/{database['NAME']}"
    (tmp_path / "users").write_text('"postgres" ""\n')
    text = (ROOT / "deploy" / "postgresql" / "pgbouncer.ini").read_text()
    for found, wanted in {
        "absurd = host=127.0.0.1 port=5432 dbname=absurd": (
            f"{database['NAME']} = host={database['HOST']} port=5432 user=postgres"
        ),
        "listen_port = 6432": f"listen_port = {port}",
        "auth_type = scram-sha-256": "auth_type = any",
        "/etc/pgbouncer/userlist.txt": str(tmp_path / "users"),
        "default_pool_size = 20": f"default_pool_size = {POOL_SIZE}",
    }.items():
        assert found in text, found
        text = text.replace(found, wanted)
    (tmp_path / "pgbouncer.ini").write_text(text)
    command = [str(shutil.which("pgbouncer")), str(tmp_path / "pgbouncer.ini")]
    if os.geteuid() == 0:  # which PgBouncer refuses, as PostgreSQL does
        if not unprivileged.namespaces_work():
            pytest.skip("pgbouncer refuses to run as root, and user namespaces are forbidden here")
        command = [*unprivileged.launcher("--namespace"), *command]
    log = tmp_path / "pgbouncer.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait_until_it_answers(url, process, log)
        yield live_environment | {
            "ABSURD_DATABASE_URL": url,
            "ABSURD_POLL_ONLY": "true",
            "ABSURD_IDLE_TRANSACTION_SEC": "15",
            "DJANGO_SETTINGS_MODULE": "absurd_project.settings",
        }
    finally:
        process.terminate()
        process.wait()


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SEC
    while True:
        try:
            psycopg.connect(url, connect_timeout=3).close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


def _ask(port: int, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/absurd/{path}", data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_tasks_are_spawned_by_the_web_and_run_by_a_worker(behind_pgbouncer: dict[str, str], tmp_path: Path) -> None:
    environment = behind_pgbouncer | {"ABSURD_API_KEY": "k" * 40}
    workers = LiveWorkers(environment, tmp_path)
    try:
        with serving(environment) as port:
            made = [
                _ask(port, "tasks", {"task_name": "echo", "params": {"value": number}}, **{"X-API-Key": "k" * 40})
                for number in range(3 * POOL_SIZE)
            ]
            logged = workers.burst("--concurrency", "2")
            listed = _ask(port, "tasks?limit=100")["tasks"]
    finally:
        workers.kill_all()
    tasks = Task.objects.filter(task_id__in=[UUID(task["task_id"]) for task in made])
    assert {task.status for task in tasks} == {"completed"}, logged
    assert [len(attempts(task)) for task in tasks] == [1] * len(made)
    assert {task["task_id"] for task in listed} == {task["task_id"] for task in made}
    assert "lost, attempts continue" not in logged


def test_the_limits_hold_and_stay_with_their_transaction(behind_pgbouncer: dict[str, str]) -> None:
    seen = subprocess.run(
        [sys.executable, "-c", LIMITS_SEEN],
        cwd=ROOT,
        env=behind_pgbouncer,
        capture_output=True,
        text=True,
        check=False,
    )
    assert seen.stdout.splitlines() == ["30s 15s", "30s 15s"], seen.stderr
    with psycopg.connect(behind_pgbouncer["ABSURD_DATABASE_URL"], autocommit=True) as session:
        shown = [session.execute("SHOW statement_timeout").fetchone() for _ in range(POOL_SIZE)]
    assert set(shown) == {("0",)}, "a limit of one process has reached the connections of others"
