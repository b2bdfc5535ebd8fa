"""GET, HEAD and OPTIONS change nothing: every route of the URL map, with PostgreSQL counting rows."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client

from tasks_app.models import Attempt
from tests.security.routes import operations
from tests.security.test_console_matrix import addresses
from tests.tasks_app.callers import Caller, make_user
from tests.tasks_app.notes import claim_one, spawn_note

pytestmark = pytest.mark.django_db

WRITTEN = """
SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_xact_user_tables
WHERE n_tup_ins + n_tup_upd + n_tup_del > 0
"""


def written() -> dict[str, int]:
    """How many rows of each table this transaction has inserted, updated and deleted so far."""
    with connection.cursor() as cursor:
        cursor.execute(WRITTEN)
        return dict(cursor.fetchall())


def test_the_count_sees_a_write():
    before = written()
    spawn_note()
    assert written() != before


def test_no_page_of_the_console_writes(worker):
    client = Client()
    client.force_login(make_user("ada", "Administrator"))
    for name, address in addresses(worker).items():
        if name == "logout":
            continue
        before = written()
        assert client.get(address).status_code < 500, name
        assert client.head(address).status_code < 500, name
        assert written() == before, name


def test_no_get_of_the_api_writes(worker, settings):
    settings.ABSURD_THROTTLE = {}
    task = spawn_note()
    claim_one(worker)
    caller = Caller()
    caller.client.force_login(make_user("ada", "Administrator"))
    real = {
        "<str:task_id>": str(task.task_id),
        "<str:queue_name>": task.queue_id,
        "<str:worker_id>": str(worker.pk),
        "<int:number>": str(Attempt.objects.get().number),
        "<str:task_name>": "note",
    }
    for each in operations():
        path = each.path
        if all(each.route.count(name) == 0 for name in real):
            paths = [path]
        else:
            route = each.route
            for name, value in real.items():
                route = route.replace(name, value)
            paths = [path, f"/{route}"]
        for address in paths:
            for method in ("GET", "HEAD", "OPTIONS"):
                before = written()
                status = caller.client.generic(method, address).status_code
                assert status < 500 or "health" in address, (method, address, status)
                assert written() == before, (method, address)
