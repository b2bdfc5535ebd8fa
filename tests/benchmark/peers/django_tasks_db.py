"""The database backend of Django's Tasks. Its worker does one task at a time and looks every second."""

from __future__ import annotations

import importlib.metadata
import os
from typing import Any

import django
import psycopg
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from tests.benchmark.peers import peer_program


def _configure() -> None:
    where = conninfo_to_dict(os.environ[peer_program.DATABASE_URL])
    settings.configure(
        SECRET_KEY="benchmark",
        USE_TZ=True,
        INSTALLED_APPS=["django.contrib.contenttypes", "django_tasks_db"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": where["dbname"],
                "USER": where.get("user", ""),
                "PASSWORD": where.get("password", ""),
                "HOST": where.get("host", ""),
                "PORT": where.get("port", ""),
                "CONN_MAX_AGE": None,
            }
        },
        TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
        LOGGING={"version": 1, "disable_existing_loggers": False, "root": {"level": "ERROR"}},
    )
    django.setup()


class DjangoTasksDb(peer_program.Peer):
    """Its tasks are in `django_tasks_db_tasks`, which both sides import."""

    version = f"django-tasks-db {importlib.metadata.version('django-tasks-db')}"
    many = 1_500

    def set_up(self) -> None:
        """Make its tables, beside ours of the same database."""
        from django.core.management import call_command

        call_command("migrate", "django_tasks_database", verbosity=0)
        self._database = psycopg.connect(os.environ[peer_program.DATABASE_URL], autocommit=True)

    def reset(self) -> None:
        """Empty its table."""
        self._database.execute("TRUNCATE django_tasks_database_dbtaskresult CASCADE")

    def enqueue(self) -> None:
        """Enqueue one."""
        self._task("noop").enqueue(ms_path=peer_program.MS_PATH)

    def enqueue_many(self, count: int) -> None:
        """Enqueue one after another in one transaction; it has no call for many."""
        from django.db import transaction

        noop = self._task("noop")
        with transaction.atomic():
            for _ in range(count):
                noop.enqueue(ms_path=peer_program.MS_PATH)

    def enqueue_stamped(self, spawned_at: float) -> None:
        """Enqueue one that notes when it was picked up."""
        self._task("stamped").enqueue(spawned_at=spawned_at)

    def left(self) -> int:
        """Count what is ready or running."""
        row = self._database.execute(
            "SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status IN ('READY', 'RUNNING')"
        ).fetchone()
        return int(row[0]) if row else 0

    def work(self, concurrency: int) -> None:
        """Run its worker, which knows no concurrency."""
        from django.core.management import call_command

        call_command("db_worker", verbosity=0)

    @staticmethod
    def _task(name: str) -> Any:
        from tests.benchmark.peers import django_tasks_db_tasks

        return getattr(django_tasks_db_tasks, name)


if __name__ == "__main__":
    _configure()
    peer_program.run(DjangoTasksDb())
