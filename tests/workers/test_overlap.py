"""Processes of two versions side by side."""

from __future__ import annotations

import pytest
from django.db import connection

from tests.workers.live import finished, spawn_one


@pytest.mark.chaos
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
