"""What must hold before work can be spawned from the command line: the system is switched on, the schema is there."""

from __future__ import annotations

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import OutputWrapper
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from absurd_project import accounts
from tasks_app.engine import system_state


class NotReady(Exception):
    """Something is missing that this command must not put right by itself; the message says what to do."""


def make_ready(out: OutputWrapper) -> None:
    """Bring the schema up to date and see that Absurd is enabled.

    On a single machine everything is prepared as `absurd_up` does. In production nothing is changed.
    Raises NotReady.
    """
    current = schema_is_current()
    if settings.PRODUCTION and not current:
        raise NotReady("the database's schema is not up to date: run manage.py absurd_setup")
    if not settings.PRODUCTION and not (current and accounts.api_key_file(settings.ABSURD_VAR).exists()):
        call_command("absurd_setup", stdout=out)
    if not system_state.is_enabled():
        raise NotReady(system_state.disabled_message(system_state.current()))


def schema_is_current() -> bool:
    """Whether every migration has been applied."""
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())
