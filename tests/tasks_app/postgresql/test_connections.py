"""What the web does when its connections die, when none is free, and which limits hold inside a transaction."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest
from django.db import connection, transaction
from django.test import Client

from tasks_app.postgresql import base as pools
from tasks_app.postgresql.base import DatabaseWrapper, Pool

pytestmark = pytest.mark.django_db(transaction=True)
GONE_SEC = 60.0
TASKS = "/api/absurd/tasks?limit=1"
END_ALL = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"


@pytest.fixture
def pool() -> Iterator[Pool]:
    found = cast(DatabaseWrapper, connection).pool
    assert found is not None
    connection.close()
    yield found
    connection.close()


@pytest.fixture
def admin_session() -> Iterator[psycopg.Connection[Any]]:
    """A session of another database of the same server, which the pool knows nothing of."""
    params = cast(DatabaseWrapper, connection).get_connection_params()
    wanted = {name: params[name] for name in ("user", "password", "host", "port") if name in params}
    with psycopg.connect(**wanted, dbname="postgres", autocommit=True) as session:
        yield session


def end_all(session: psycopg.Connection[Any]) -> int:
    ended: int = session.execute(END_ALL, [connection.settings_dict["NAME"]]).fetchone()[0]  # type: ignore[index]
    return ended


def get(path: str, **cookies: str) -> tuple[int, str]:
    """Return the status and Retry-After of an answer given in a thread of its own, as the server does it."""
    found: list[tuple[int, str]] = []

    def ask() -> None:
        try:
            client = Client(HTTP_HOST="localhost", raise_request_exception=False)
            client.cookies.load(cookies)
            response = client.get(path)
            found.append((response.status_code, response.headers.get("Retry-After", "")))
        finally:
            connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found[0]


def take_all(pool: Pool) -> list[psycopg.Connection[Any]]:
    most = connection.settings_dict["OPTIONS"]["pool"]["max_size"]
    return [pool.getconn() for _ in range(most)]


def test_the_first_request_after_all_connections_died_is_answered(
    pool: Pool, admin_session: psycopg.Connection[Any]
) -> None:
    taken = take_all(pool)
    for each in taken:
        pool.putconn(each)
    assert end_all(admin_session) >= len(taken)
    assert [get(TASKS) for _ in range(len(taken))] == [(200, "")] * len(taken)


def test_one_dead_connection_closes_the_unused_ones(pool: Pool, admin_session: psycopg.Connection[Any]) -> None:
    taken = take_all(pool)
    for each in taken:
        pool.putconn(each)
    end_all(admin_session)
    fresh = pool.getconn()
    assert fresh not in taken
    assert all(each.closed for each in taken)
    pool.putconn(fresh)


def test_a_connection_in_use_while_another_died_is_not_used_again(
    pool: Pool, admin_session: psycopg.Connection[Any]
) -> None:
    dead, in_use = pool.getconn(), pool.getconn()
    pool.putconn(dead)
    admin_session.execute("SELECT pg_terminate_backend(%s)", [dead.info.backend_pid])
    pool.putconn(pool.getconn())
    pool.putconn(in_use)
    assert in_use.closed


def test_an_open_transaction_does_not_come_back_with_its_connection(pool: Pool) -> None:
    used = pool.getconn()
    used.execute("BEGIN")
    pool.putconn(used)
    again = pool.getconn()
    assert again is used
    assert again.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    pool.putconn(again)


def test_a_connection_that_nobody_used_for_long_is_not_handed_out(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    old = pool.getconn()
    pool.putconn(old)
    monkeypatch.setattr(pools, "IDLE_MOST_SEC", -1.0)
    fresh = pool.getconn()
    assert old.closed
    assert not fresh.closed
    pool.putconn(fresh)


@pytest.mark.parametrize("path", [TASKS, "/admin/"])
def test_who_gets_no_connection_is_asked_to_come_again(pool: Pool, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(pools, "WAIT_SEC", 0.01)
    taken = take_all(pool)
    try:
        answer = get(path, sessionid="x" * 32)
    finally:
        for each in taken:
            pool.putconn(each)
    assert answer == (503, "5")


def test_a_server_that_cannot_be_reached_fails_at_once_and_frees_the_place() -> None:
    def refuse() -> psycopg.Connection[Any]:
        raise psycopg.OperationalError("connection refused")

    alone = Pool(refuse, max_size=1)
    for _ in range(3):
        with pytest.raises(psycopg.OperationalError, match="connection refused"):
            alone.getconn()


def test_a_connection_that_cannot_be_set_up_leaves_no_session(admin_session: psycopg.Connection[Any]) -> None:
    class WithoutRole(DatabaseWrapper):
        def _configure_connection(self, connection: psycopg.Connection[Any]) -> None:
            connection.execute("SET ROLE no_such_role")

    options = {**connection.settings_dict["OPTIONS"], "application_name": "set up in vain"}
    wrapper = WithoutRole({**connection.settings_dict, "OPTIONS": options}, "without_role")
    with pytest.raises(psycopg.Error, match="no_such_role") as raised:
        cast(Pool, wrapper.pool).getconn()
    wrapper.close_pool()
    deadline = time.monotonic() + GONE_SEC
    while admin_session.execute("SELECT 1 FROM pg_stat_activity WHERE application_name = 'set up in vain'").fetchone():
        assert time.monotonic() < deadline, f"a session outlasts {raised.value}"
        time.sleep(0.02)


def test_a_failure_that_the_pool_remembers_holds_nothing_of_its_caller() -> None:
    class Held:
        """Stands for what a caller has in its frame, such as a request."""

    def fail() -> weakref.ref[Held]:
        held = Held()
        with contextlib.suppress(psycopg.OperationalError):
            alone.getconn()
        return weakref.ref(held)

    def refuse() -> psycopg.Connection[Any]:
        raise psycopg.OperationalError("connection refused")

    alone = Pool(refuse, max_size=1)
    assert fail()() is None


def test_limits_hold_inside_a_transaction_and_leave_the_session_alone() -> None:
    wrapper = cast(DatabaseWrapper, connection)

    def shown(name: str) -> str:
        with connection.cursor() as cursor:
            cursor.execute(f"SHOW {name}")
            return str(cursor.fetchone()[0])

    before = dict(wrapper.limits)
    wrapper.limits.update(idle_in_transaction_session_timeout=15_000, lock_timeout=4_000)
    try:
        with transaction.atomic():
            assert shown("idle_in_transaction_session_timeout") == "15s"
            assert shown("lock_timeout") == "4s"
        assert shown("idle_in_transaction_session_timeout") == "0"
        wrapper.limits["statement_timeout"] = 7_000
        assert shown("statement_timeout") == "7s", "a statement outside a transaction has no limit"
    finally:
        wrapper.limits.clear()
        wrapper.limits.update(before)
    assert shown("statement_timeout") == "0"
