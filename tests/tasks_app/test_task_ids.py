from __future__ import annotations

import time

import pytest
from django.db import connection

from tasks_app.engine.spawn import NewTask, spawn_many
from tasks_app.models import ArchivedTask, Task
from tasks_app.models.querysets import id_ends_with, short_id
from tasks_app.models.task import new_task_id
from tests.tasks_app.notes import spawn_note


def test_ids_are_of_version_7_and_stand_in_the_order_of_their_making():
    before_ms = time.time_ns() // 1_000_000
    ids = [new_task_id() for _ in range(1000)]
    after_ms = time.time_ns() // 1_000_000
    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert all(before_ms <= each.int >> 80 <= after_ms for each in ids)
    moments = [each.int >> 80 for each in ids]
    assert moments == sorted(moments)


def test_short_forms_of_ids_made_together_differ():
    assert len({short_id(new_task_id()) for _ in range(1000)}) == 1000


@pytest.mark.django_db
@pytest.mark.parametrize("chars", [4, 8, 12, 20])
@pytest.mark.parametrize("model", [Task, ArchivedTask])
def test_an_id_is_found_by_its_end_through_an_index(model, chars):
    """With sequential scans forbidden and enough rows the plan shows whether the index serves."""
    wanted = spawn_note().task_id
    others = [NewTask.of(task_name="note", params={"text": "x"}) for _ in range(300)]
    spawn_many(others, actor="user:test")
    found = model.objects.filter(id_ends_with(str(wanted)[-chars:])).values_list("task_id", flat=True)
    with connection.cursor() as cursor:
        # As in a new database; other tests may have left statistics of an empty table.
        cursor.execute("UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relname = %s", [model._meta.db_table])
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = found.explain()
    assert ("archive_id_end" if model is ArchivedTask else "task_id_end") in plan
    assert "Index Cond" in plan, "the index is read whole"
    assert list(found) == ([] if model is ArchivedTask else [wanted])
