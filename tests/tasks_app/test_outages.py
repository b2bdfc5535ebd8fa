"""Errors that PostgreSQL itself raises, and what they mean to those who asked."""

from __future__ import annotations

from contextlib import contextmanager

import psycopg
import pytest
from django.db import Error, connection, transaction

from tasks_app.maintenance.sweeper import Sweeper
from tasks_app.monitoring.health import database
from tasks_app.postgresql import outages
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.notes import claim_one, spawn_note

pytestmark = pytest.mark.django_db

OUTAGES = [
    "08006", "08001", "25006", "25P03", "25P04", "28P01", "3D000", "40001", "40P01", "42501", "53000", "53100",
    "53200", "53300", "55P03", "55000", "57014", "57P01", "57P02", "57P03", "57P05", "58030",
]  # fmt: skip
FAULTS = ["22001", "22003", "22021", "22P05", "23502", "23505", "42601", "42703", "42P01", "54000", "P0001", "XX000"]


def raised(code: str) -> Error:
    """Return the error that Django makes of what the server raises with this code."""
    with pytest.raises(Error) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")
    return caught.value


@pytest.mark.parametrize("code", OUTAGES)
def test_what_can_succeed_later_is_an_outage(code):
    error = raised(code)
    assert outages.is_outage(error) and outages.sqlstate(error) == code
    assert code in outages.describe(error)


@pytest.mark.parametrize("code", FAULTS)
def test_what_was_sent_wrongly_is_none(code):
    assert not outages.is_outage(raised(code))


def test_a_server_that_is_not_there_is_an_outage_without_a_code():
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect("postgresql://nobody@127.0.0.1:1/none", connect_timeout=2)
    assert outages.is_outage(caught.value) and outages.is_disconnect(caught.value)
    assert not outages.is_outage(ValueError("no"))


@contextmanager
def read_only():
    """Have this connection's transactions refuse writes, as a database does in a failover."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")


@pytest.mark.django_db(transaction=True)
def test_a_database_that_refuses_writes_is_said_by_health_and_by_the_api():
    caller = Caller(make_key("spawn"))
    caller.get("queues")
    with read_only():
        found = database.writes()
        answer = caller.post("tasks", {"task_name": "note", "params": {"text": "a"}})
    assert found.state == "bad" and "refuses writes" in found.message
    assert answer.status_code == 503 and answer["Retry-After"]
    assert answer.body["code"] == "database_refuses_writes"


@pytest.mark.django_db(transaction=True)
def test_a_lease_that_runs_out_while_nobody_can_renew_is_not_lost(worker):
    task = spawn_note()
    claim_one(worker)
    sweeper = Sweeper()
    sweeper.sweep()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tasks_app_task SET lease_sec = 1, lease_until = now() - interval '1 second'")
        cursor.execute("SELECT pg_sleep(1.2)")
    with read_only():
        assert sweeper.sweep() == 0
    assert sweeper.sweep() == 0
    task.refresh_from_db()
    assert (task.status, task.retry_count) == ("claimed", 0)
