"""What a worker notes of an outage of its database."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from workers import db_connection

pytestmark = pytest.mark.django_db(transaction=True)


def read(held: db_connection.Link) -> None:
    with held.guarded(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def write_in_vain(held: db_connection.Link) -> None:
    with held.guarded(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        cursor.execute("DELETE FROM tasks_app_task")


def test_a_database_that_answers_only_what_reads_is_one_outage(caplog):
    held = db_connection.Link("claiming")
    for _ in range(6):
        write_in_vain(held)
        read(held)
    write_in_vain(held)
    assert not held.up
    assert caplog.text.count(" lost, attempts") == 1 and "25006" in caplog.text
    assert "is back" not in caplog.text
    assert held.wait_sec > 2 * db_connection.FIRST_DELAY_SEC


def test_the_end_of_an_outage_is_reported_once_the_database_has_answered_for_a_while(caplog, monkeypatch):
    monkeypatch.setattr(db_connection, "SETTLED_SEC", 0.0)
    held = db_connection.Link("claiming")
    write_in_vain(held)
    read(held)
    read(held)
    assert held.up and caplog.text.count("restored after") == 1
    write_in_vain(held)
    assert caplog.text.count(" lost, attempts") == 2
