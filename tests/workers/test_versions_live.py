"""Workers of two versions at once: each claims only the task names that it knows, and a new column stops none."""

from __future__ import annotations

import pytest
from django.db import connection

from tasks_app.models import Task, Worker
from tests.tasks_app.django_tasks_backend import django_functions as functions
from tests.workers.live import finished, spawn_one

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_task_of_the_next_version_waits_for_a_worker_of_it(workers):
    new = spawn_one("echo", priority=20)
    known = functions.add.enqueue(1, right=2)
    workers.environment["ABSURD_DIAGNOSTICS"] = "false"
    workers.burst()  # ends, although a task that it does not know waits
    known.refresh()
    assert known.return_value == 3
    new.refresh_from_db()
    assert (new.status, new.claim_epoch, new.retry_count) == ("pending", 0, 0)
    assert "echo" not in Worker.objects.get().task_names
    workers.start()
    workers.start(ABSURD_DIAGNOSTICS="true")
    assert (finished(new).status, Task.objects.get(pk=new.pk).claim_epoch) == ("completed", 1)


def test_a_running_worker_goes_on_when_a_newer_version_adds_a_column(workers):
    workers.start()
    assert finished(spawn_one("noop")).status == "completed"
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tasks_app_task ADD COLUMN of_the_future text")
    try:
        for _ in range(3):
            assert finished(spawn_one("noop")).status == "completed"
        assert finished(spawn_one("echo", {"value": 1})).result["value"] == 1
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE tasks_app_task DROP COLUMN of_the_future")
