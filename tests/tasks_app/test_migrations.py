"""The schema: migrations and models agree, and triggers that were lost come back with the right counts."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from tasks_app.monitoring import queues
from tasks_app.monitoring.health.database import triggers
from tests.tasks_app.notes import spawn_note


@pytest.mark.django_db
def test_the_models_and_the_migrations_agree(worker):
    spawn_note()
    executor = MigrationExecutor(connection)
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []


@pytest.mark.parametrize("fault", ["DROP TRIGGER task_count_inserted ON", "ALTER TABLE"])
def test_setup_makes_lost_triggers_again_and_counts_what_they_missed(transactional_db, fault):
    spawn_note()
    end = "" if fault.startswith("DROP") else " DISABLE TRIGGER task_count_inserted"
    with connection.cursor() as cursor:
        cursor.execute(f"{fault} tasks_app_task{end}")
    spawn_note()
    (before,) = queues.queue_stats(["dsa110-pipeline"])
    assert (before["pending"], triggers().state) == (1, "bad")
    assert "absurd_setup" in triggers().remedy
    call_command("absurd_setup")
    spawn_note()
    (after,) = queues.queue_stats(["dsa110-pipeline"])
    assert (after["pending"], triggers().state) == (3, "ok")
