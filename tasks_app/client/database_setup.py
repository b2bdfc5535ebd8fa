"""Sets Django up for a program without it, and checks the database before its first use."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import django
import psycopg
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import DataError, Error, connection
from django.db.migrations.executor import MigrationExecutor

from tasks_app.client.faults import DatabaseNotReady, RequestRefused, ServerFault, Unavailable
from tasks_app.client.values import AbsurdConfig
from tasks_app.engine import notify
from tasks_app.formats import without_passwords
from tasks_app.postgresql import outages
from tasks_app.postgresql.base import DatabaseWrapper

SETTINGS = "absurd_project.settings"
MIGRATING = 0x4162_7375_7264
"""Key of the advisory lock under which one client migrates while others wait."""
OURS = "tasks_app"
_lock = threading.Lock()
_configured_here = False
_open_clients = 0


def prepare(config: AbsurdConfig) -> None:
    """Set Django up, connect to the database and check it; create the tables of an empty one.

    Raises Unavailable and DatabaseNotReady.
    """
    global _open_clients
    _reach(config)
    with _lock:
        if not settings.configured:
            _configure(config.url)
        _check_same_database(config.url)
        _open_clients += 1
    try:
        _check_schema()
    except BaseException:
        disconnect()
        raise
    finally:
        connection.close()


def disconnect() -> None:
    """Close the connections with the last client of this process, if a client has set Django up."""
    global _open_clients
    with _lock:
        _open_clients -= 1
        connection.close()
        if not _open_clients:
            _stop_health()
        if _configured_here and not _open_clients:
            notify.publisher.finish()
            cast(DatabaseWrapper, connection).close_pool()


def _stop_health() -> None:
    from tasks_app.monitoring import health  # here, because it needs Django's applications

    health.stop()


def answered(call: Callable[..., Any], *arguments: object) -> Any:
    """Return what the call returns; its thread keeps no connection, and errors get the client's names."""
    try:
        return call(*arguments)
    except DataError as error:
        raise RequestRefused("a value of the request cannot be stored") from error
    except Error as error:
        if outages.is_outage(error):
            raise Unavailable(outages.describe(error)) from error
        raise ServerFault(f"the database answered with an error: {_first_line(error)}") from error
    finally:
        connection.close()


def _reach(config: AbsurdConfig) -> None:
    """Check that the server answers: Django's pool would retry for half a minute."""
    try:
        psycopg.connect(config.url, connect_timeout=max(2, round(config.timeout_sec))).close()
    except psycopg.Error as error:
        fault = Unavailable(f"{without_passwords(config.url)} cannot be reached: {_first_line(error)}")
        fault.never_sent = True
        fault.remedy = "start PostgreSQL, correct the address, or create the database with createdb"
        raise fault from error


def _configure(url: str) -> None:
    """Load this project's settings for the database, and leave the program's environment and logging as they are."""
    global _configured_here
    chosen = {"DJANGO_SETTINGS_MODULE": SETTINGS, "ABSURD_DATABASE_URL": url}
    # A client serves nothing, so it needs neither the hosts nor the lasting secret of a production server.
    defaults = {"ABSURD_MODE": "local", "SECRET_KEY": secrets.token_urlsafe(50)}
    with _environment({**defaults, **os.environ, **chosen}):
        settings.LOGGING_CONFIG = None
        django.setup()
    _configured_here = True


@contextlib.contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """Change the environment for a while; Django sets the time zone of the process, which is not ours to set."""
    before = dict(os.environ)
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
        time.tzset()


def _check_same_database(url: str) -> None:
    if not apps.ready or not apps.is_installed("tasks_app"):
        remedy = "use the address of a server, or another process"
        raise DatabaseNotReady("Django is set up here for another project", remedy)
    asked, mine = psycopg.conninfo.conninfo_to_dict(url), connection.settings_dict
    host = asked.get("host") or ""
    same_host = (mine["HOST"] or "") == host or not host
    same_port = str(mine["PORT"] or "5432") == str(asked.get("port") or "5432")
    if not (same_host and same_port and mine["NAME"] == (asked.get("dbname") or mine["NAME"])):
        message = f"Django is set up here for the database {mine['NAME']!r}, not for {without_passwords(url)}"
        raise DatabaseNotReady(message, "use one database in one process, or a server's address")


def _check_schema() -> None:
    with _migrations_held("pg_advisory_xact_lock_shared"):
        is_empty = not connection.introspection.table_names()
    if is_empty:
        _check_may_create()
        with _migrations_held("pg_advisory_xact_lock"):
            if not connection.introspection.table_names():
                call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
    _check_migrations()


@contextlib.contextmanager
def _migrations_held(lock: str) -> Iterator[None]:
    """Wait for another client that makes the tables, and keep others from beginning.

    In a transaction of a connection of its own: behind PgBouncer a lock of the session would stay with whichever
    server connection took it.
    """
    params = cast(DatabaseWrapper, connection).get_connection_params()
    wanted = {name: params[name] for name in params if name not in ("cursor_factory", "context")}
    with connection.wrap_database_errors, psycopg.connect(**wanted) as session:
        session.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        session.execute(f"SELECT {lock}(%s)", [MIGRATING])
        yield


def _check_migrations() -> None:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        count = len(missing)
        message = f"the database lacks {count} migration{'s' if count > 1 else ''} of this version"
        raise DatabaseNotReady(message, "run manage.py migrate, if it is the right database")
    loader = executor.loader
    newer = sorted(key[1] for key in loader.applied_migrations if key[0] == OURS and key not in loader.disk_migrations)
    if newer:
        message = f"the database belongs to a newer version of Absurd (it has {newer[-1]})"
        raise DatabaseNotReady(message, "install that version here too, or use a server's address")


def _check_may_create() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)")
        role, may_create = cursor.fetchone()
    if not may_create:
        message = f"the database is empty and the role {role!r} may not create tables"
        raise DatabaseNotReady(message, "run manage.py absurd_setup as a role that may")


def _first_line(error: Exception) -> str:
    return without_passwords(str(error).strip().split("\n", 1)[0])
