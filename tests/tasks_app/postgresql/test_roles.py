"""The whole system under the role `app`, and what the roles may not do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.urls import reverse

from tasks_app.models import Task
from tasks_app.postgresql.roles import SECRET_TABLES, Roles
from tests.daphne_server import serving
from tests.tasks_app.callers import make_key, make_user
from tests.tasks_app.management.commands import output_of, refused, run

pytestmark = pytest.mark.django_db(transaction=True)
LISTS = ("task", "run", "worker", "queue", "schedule", "limit", "apikey")
API = ("health?checks=true", "tasks", "runs", "workers", "queues", "schedules", "limits", "metrics")


@dataclass(frozen=True, kw_only=True)
class Granted:
    """Roles with names of this test's own."""

    roles: Roles

    def url(self, role: str) -> str:
        return f"postgresql://{role}@:5432/{connection.settings_dict['NAME']}?host={connection.settings_dict['HOST']}"

    def session(self, role: str) -> psycopg.Connection:
        return psycopg.connect(self.url(role), autocommit=True)


@pytest.fixture
def granted() -> Iterator[Granted]:
    suffix = uuid4().hex[:8]
    roles = Roles(owner=f"owner_{suffix}", app=f"app_{suffix}", reader=f"reader_{suffix}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        before = cursor.fetchone()[0]
    try:
        for _ in range(2):
            output_of("absurd_roles", "--owner", roles.owner, "--app", roles.app, "--reader", roles.reader)
        yield Granted(roles=roles)
    finally:
        database = connection.ops.quote_name(connection.settings_dict["NAME"])
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {database} OWNER TO {before}")
            cursor.execute(f"REASSIGN OWNED BY {roles.owner} TO {before}")
            for role in roles.each():
                cursor.execute(f"DROP OWNED BY {role}")
                cursor.execute(f"DROP ROLE {role}")
            cursor.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
            cursor.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO PUBLIC")


def test_web_and_worker_run_under_the_role_of_the_app(granted: Granted, live_environment: dict[str, str]):
    environment = live_environment | {"ABSURD_DATABASE_URL": granted.url(granted.roles.app)}
    key = make_key("read", "spawn", "operate")
    make_user("anna")
    User.objects.update(is_superuser=True)
    with serving(environment) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        headers = {"X-API-Key": key}
        spawned = client.post("/api/absurd/tasks", json={"task_name": "echo", "params": {"value": 1}}, headers=headers)
        assert spawned.status_code == 201, spawned.text
        other = client.post("/api/absurd/tasks", json={"task_name": "noop"}, headers=headers).json()["task_id"]
        assert client.delete(f"/api/absurd/tasks/{other}", headers=headers).status_code == 200
        done = run(environment, "runworker", "--burst", "--no-warm")
        assert done.returncode == 0, done.stderr
        task = Task.objects.get(pk__in=Task.objects.filter(task_name="echo"))
        assert (task.status, task.result["value"]) == ("completed", 1)
        for path in API:
            assert client.get(f"/api/absurd/{path}", headers=headers).status_code == 200, path
        page = client.get("/admin/login/")
        form = {"username": "anna", "password": "correct horse battery"}
        form["csrfmiddlewaretoken"] = page.cookies["csrftoken"]
        assert client.post("/admin/login/", data=form).status_code == 302
        pages = [reverse("admin:index"), *(reverse(f"admin:tasks_app_{name}_changelist") for name in LISTS)]
        pages.append(reverse("admin:tasks_app_task_change", args=[task.pk]))
        for path in pages:
            assert client.get(path).status_code == 200, path


def test_the_app_changes_no_schema_and_the_reader_nothing(granted: Granted):
    roles = granted.roles
    schema = ("CREATE TABLE mine (a int)", "DROP TABLE tasks_app_limit", "ALTER TABLE tasks_app_limit ADD x int")
    with granted.session(roles.app) as session:
        for statement in (*schema, "TRUNCATE tasks_app_limit", "CREATE ROLE another"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = {name for (name,) in cursor.fetchall()}
    assert set(SECRET_TABLES) <= tables
    with granted.session(roles.reader) as session:
        for table in sorted(tables):
            for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} DEFAULT VALUES"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(statement)
            if table in SECRET_TABLES:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(f"SELECT * FROM {table}")
            else:
                session.execute(f"SELECT count(*) FROM {table}")
        for statement in (*schema, "SELECT nextval('tasks_app_taskevent_id_seq')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)


def test_the_owner_changes_the_schema_and_the_app_may_use_what_is_new(granted: Granted):
    roles = granted.roles
    with granted.session(roles.owner) as session:
        session.execute("ALTER TABLE tasks_app_limit ADD x int")
        session.execute("ALTER TABLE tasks_app_limit DROP x")
        session.execute("CREATE TABLE later (a bigint GENERATED ALWAYS AS IDENTITY)")
        with granted.session(roles.app) as app:
            app.execute("INSERT INTO later DEFAULT VALUES")
        session.execute("DROP TABLE later")


def test_passwords_are_kept_in_files_and_wrong_names_are_refused(tmp_path: Path):
    for wrong in (["--app", "absurd_owner"], ["--reader", "pg_reader"], ["--owner", "a/b"], ["--app", ""]):
        assert refused("absurd_roles", *wrong)[0] == 2
    (tmp_path / "file").touch()
    assert refused("absurd_roles", "--password-directory", tmp_path / "file")[0] == 2
