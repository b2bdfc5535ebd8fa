"""The client in interpreters of its own: without Django over a server, and with none set up over a database."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.conf import settings

from tests.daphne_server import serving

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[3]
KEY = "secure_random_key"

NO_DJANGO = """
import sys

class Refuse:
    NAMES = {"django", "channels", "rest_framework", "psycopg", "absurd_project"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.NAMES:
            raise ImportError(f"{name} is not to be had here")

sys.meta_path.insert(0, Refuse())
"""

OVER_A_SERVER = """
import asyncio, sys
from tasks_app.client import AbsurdClient, NewTask, WaitTimedOut, TaskNotFound

async def main(url, key):
    async with AbsurdClient(url, api_key=key) as client:
        print((await client.health()).queue)
        task = await client.spawn("echo", {"value": 1})
        await client.spawn_many([NewTask(task_name="echo", params={"value": 2})])
        print(len([task async for task in client.list()]), (await client.get_queue_stats("dsa110-pipeline"))["pending"])
        try:
            await client.wait(task.task_id, timeout_sec=0.5)
        except WaitTimedOut:
            print((await client.cancel(task.task_id)).status)
        async for event in client.events(since=0):
            if event.type == "task_update" and event.update["status"] == "cancelled":
                print(event.task_id == task.task_id)
                break
        try:
            await client.get("nobody")
        except TaskNotFound as fault:
            print(fault.code)

asyncio.run(main(*sys.argv[1:]))
"""

OVER_A_DATABASE = """
import asyncio, logging, os, sys
from tasks_app.client import AbsurdClient, AbsurdConfig
before = dict(os.environ)

async def main(url):
    client = AbsurdClient(url)
    await client.connect()
    stats = await client.get_queue_stats("dsa110-pipeline")
    print(stats)
    await client.close()

asyncio.run(main(sys.argv[1]))
assert os.environ == before
assert not logging.getLogger().handlers
"""


def run_alone(code: str, environment: dict[str, str], *arguments: str) -> Any:
    argv = [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def bare() -> dict[str, str]:
    """The environment of a program that knows nothing of Absurd."""
    return {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}


@pytest.fixture
def empty_database(bare: dict[str, str]) -> Iterator[str]:
    """The URL of a new database in the tests' cluster."""
    name = f"client_{uuid4().hex[:12]}"
    host = settings.DATABASES["default"]["HOST"]
    with psycopg.connect(host=host, user="postgres", dbname="postgres", autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield f"postgresql://postgres@:5432/{name}?host={host}"
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_importing_the_client_and_talking_to_a_server_needs_no_django(live_environment, bare):
    environment = {**live_environment, "ABSURD_API_KEY": KEY, "ABSURD_DIAGNOSTICS": "true"}
    with serving(environment) as port:
        done = run_alone(NO_DJANGO + OVER_A_SERVER, bare, f"http://127.0.0.1:{port}", KEY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["dsa110-pipeline", "2 2", "cancelled", "True", "task_not_found", ""]


def test_the_blocker_of_the_test_above_blocks(bare):
    done = run_alone(NO_DJANGO + "import django", bare)
    assert "is not to be had here" in done.stderr


def test_the_guides_snippet_makes_the_tables_of_an_empty_database(empty_database: str, bare):
    for _ in range(2):
        done = run_alone(OVER_A_DATABASE, bare, empty_database)
        assert done.returncode == 0, done.stderr
        assert (done.stdout.startswith("queue_name='dsa110-pipeline' pending=0"), done.stderr) == (True, "")


def test_clients_that_connect_at_once_make_the_tables_together(empty_database: str, bare):
    argv = [sys.executable, "-c", textwrap.dedent(OVER_A_DATABASE), empty_database]
    started = [
        subprocess.Popen(argv, cwd=ROOT, env=bare, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in started:
        _, output = process.communicate(timeout=180)
        assert process.returncode == 0, output


CONNECT = """
import asyncio, json, sys
from tasks_app.client import AbsurdClient, AbsurdError

async def main(url):
    try:
        await AbsurdClient(url, retries=0).connect()
    except AbsurdError as fault:
        print(json.dumps([fault.code, str(fault), fault.remedy]))

asyncio.run(main(sys.argv[1]))
"""


def refusal(url: str, environment: dict[str, str]) -> list[str]:
    done = run_alone(CONNECT, environment, url)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_role_that_may_make_no_tables_is_shown_what_to_run(empty_database: str, bare):
    role = f"reader_{uuid4().hex[:12]}"
    with psycopg.connect(empty_database, autocommit=True) as database:
        database.execute(f'CREATE ROLE "{role}" LOGIN')
        try:
            code, message, remedy = refusal(empty_database.replace("postgres@", f"{role}@"), bare)
        finally:
            database.execute(f'DROP ROLE "{role}"')
    assert code == "database_not_ready" and role in message and "absurd_setup" in remedy


def test_a_database_of_others_or_of_another_version_is_left_alone(empty_database: str, bare):
    with psycopg.connect(empty_database, autocommit=True) as database:
        database.execute("CREATE TABLE mine (id int)")
        code, _, remedy = refusal(empty_database, bare)
        assert code == "database_not_ready" and "manage.py migrate" in remedy
        assert database.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (1,)
        database.execute("DROP TABLE mine")
        assert run_alone(OVER_A_DATABASE, bare, empty_database).returncode == 0
        database.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('tasks_app', '9999_later', now())")
        assert "newer version" in refusal(empty_database, bare)[1]
        ours = "FROM django_migrations WHERE app = 'tasks_app'"
        database.execute(f"DELETE {ours} AND name = '9999_later'")
        database.execute(f"DELETE {ours} AND name = (SELECT max(name) {ours})")
        assert "lacks" in refusal(empty_database, bare)[1]


def test_a_program_whose_django_serves_another_database_is_refused(live_environment, bare):
    code = "import django; django.setup()\n" + CONNECT
    own = {**live_environment, "DJANGO_SETTINGS_MODULE": "absurd_project.settings"}
    name = settings.DATABASES["default"]["NAME"]
    other = live_environment["ABSURD_DATABASE_URL"].replace(name, "postgres")
    assert "not for" in refusal_of(code, other, own)


def refusal_of(code: str, url: str, environment: dict[str, str]) -> str:
    done = run_alone(code, environment, url)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)[1])
