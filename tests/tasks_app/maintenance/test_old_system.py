"""Tasks of the former system, in both layouts of its table, in a real database."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import psycopg
import pytest
from django.db import connection

from tasks_app.models import ArchivedTask, Task
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.management.commands import json_of, output_of, refused

pytestmark = pytest.mark.django_db(transaction=True)
NEWER = """
CREATE TABLE absurd.tasks (
    task_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), queue_name text NOT NULL, task_name text NOT NULL,
    params jsonb DEFAULT '{}', priority int DEFAULT 0, timeout_sec int,
    status text CHECK (status IN ('pending', 'claimed', 'completed', 'failed', 'cancelled', 'retrying')),
    worker_id text, attempt int DEFAULT 0, max_retries int DEFAULT 3, result jsonb, error text,
    created_at timestamptz DEFAULT now(), claimed_at timestamptz, completed_at timestamptz,
    wait_time_sec float8, execution_time_sec float8
)
"""
OLDER = """
CREATE TABLE absurd.t_tasks (
    task_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), queue_name text NOT NULL, task_name text NOT NULL,
    params jsonb DEFAULT '{}', priority int DEFAULT 0, timeout_sec int NOT NULL DEFAULT 3600,
    status text, worker_id text, retry_count int DEFAULT 0, max_retries int DEFAULT 3, result jsonb, error text,
    created_at timestamptz DEFAULT now(), claimed_at timestamptz, completed_at timestamptz, last_heartbeat timestamptz
)
"""
ROWS = """
INSERT INTO absurd.{table} (queue_name, task_name, params, priority, status, {attempts}, result, error,
    created_at, claimed_at, completed_at)
SELECT queue, name, params::jsonb, priority, status, attempts, result::jsonb, error, now() - age::interval,
    CASE WHEN attempts > 0 THEN now() - age::interval + '5 s'::interval END,
    CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN now() - age::interval + '65 s'::interval END
FROM (VALUES
    ('dsa110-pipeline', 'imaging', '{{"ms_path": "/data/a.ms"}}', 10, 'completed', 1, '{{"rms": 0.01}}', NULL, '3 d'),
    ('dsa110-pipeline', 'imaging', '{{}}', 0, 'failed', 3, NULL, 'no such file', '2 d'),
    ('mosaic', 'nightly mosaic', '{{}}', 99, 'cancelled', 0, NULL, 'Cancelled by user', '1 d'),
    ('dsa110-pipeline', 'imaging', '{{}}', 0, 'completed', 1, NULL, NULL, '400 d'),
    ('dsa110-pipeline', 'note', '{{"text": "a"}}', 7, 'pending', 0, NULL, NULL, '1 h'),
    ('dsa110-pipeline', 'note', '{{"words": "a"}}', 7, 'claimed', 1, NULL, NULL, '1 h'),
    ('dsa110-pipeline', 'gone', '{{}}', 7, 'retrying', 1, NULL, NULL, '1 h')
) AS rows (queue, name, params, priority, status, attempts, result, error, age)
"""


@pytest.fixture(params=[("tasks", "attempt", NEWER), ("t_tasks", "retry_count", OLDER)], ids=["newer", "older"])
def url(request) -> Iterator[str]:
    table, attempts, create = request.param
    parts = connection.settings_dict
    host, user = quote(str(parts["HOST"]), safe=""), quote(str(parts["USER"]))
    found = f"postgresql://{user}:hunter2@{host}:{parts['PORT'] or 5432}/{parts['NAME']}"
    with psycopg.connect(found) as former:
        former.execute("DROP SCHEMA IF EXISTS absurd CASCADE; CREATE SCHEMA absurd")
        former.execute(create)
        former.execute(ROWS.format(table=table, attempts=attempts))
    yield found
    with psycopg.connect(found) as former:
        former.execute("DROP SCHEMA absurd CASCADE")


def test_finished_tasks_are_found_under_their_ids_and_a_second_import_changes_nothing(url):
    would = json_of("absurd_import", url, "--dry-run")
    assert (would["archived"]["completed"], ArchivedTask.objects.count()) == (1, 0)
    found = json_of("absurd_import", url)
    refused_for = "its task_name"
    assert found["archived"] == would["archived"] == {"completed": 1, "failed": 1}
    assert (found["tasks"], found["open"], found["spawned"], found["known"]) == (7, 3, 0, 0)
    assert sorted(found["refused"].values()) == [1, 1]
    assert any(refused_for in reason for reason in found["refused"])
    assert any("ABSURD_ARCHIVE_DAYS" in reason for reason in found["refused"])
    api = Caller(make_key("read"))
    for row in ArchivedTask.objects.all():
        body = api.get(f"tasks/{row.task_id}").body
        assert (body["task_name"], body["status"]) == ("imaging", row.status)
        assert body["duration_sec"] == pytest.approx(60)
        if row.status == "completed":
            assert (body["result"], body["params"], body["priority"]) == ({"rms": 0.01}, {"ms_path": "/data/a.ms"}, 10)
        else:
            assert (body["error"], body["retry_count"], body["priority"]) == ("no such file", 2, 5)
        assert api.get(f"tasks/{row.task_id}/events").status_code == 200
        assert api.get(f"tasks/{row.task_id}/attempts").body["attempts"] == []
    again = json_of("absurd_import", url)
    assert (again["known"], again["archived"], ArchivedTask.objects.count()) == (2, {}, 2)


def test_open_tasks_are_spawned_once_when_that_is_asked_for(url):
    found = json_of("absurd_import", url, "--spawn-open", "--queue", "dsa110-pipeline")
    assert (found["spawned"], found["open"], found["tasks"]) == (1, 0, 6)
    assert any("no task of this name" in reason for reason in found["refused"])
    assert any("words" in reason for reason in found["refused"]), "its params do not fit"
    task = Task.objects.get()
    assert (task.task_name, task.params, task.priority, task.status) == ("note", {"text": "a"}, 7, "pending")
    again = json_of("absurd_import", url, "--spawn-open")
    assert (again["spawned"], again["known"], Task.objects.count()) == (0, 3, 1)
    assert "spawned: 0; known from before: 3" in output_of("absurd_import", url, "--spawn-open")


def test_a_database_without_its_tables_is_refused_in_one_line_without_the_password(url):
    with psycopg.connect(url) as former:
        former.execute("DROP SCHEMA absurd CASCADE; CREATE SCHEMA absurd")
    for wrong in (url, url.replace("postgresql://", "postgresql://nobody-of-that-name"), "http://a.example.org"):
        code, message = refused("absurd_import", wrong)
        assert (code, "cannot be imported" in message, "hunter2" in message) == (2, True, False)
