"""What the test session itself promises to every test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from absurd_project.local import servers

CHECKOUT = Path(__file__).resolve().parents[3]


def test_the_session_never_uses_the_state_directory_of_the_user():
    assert settings.ABSURD_VAR != CHECKOUT / "var"
    assert str(settings.ABSURD_VAR) in settings.DATABASES["default"]["HOST"]


@pytest.mark.django_db
def test_each_xdist_worker_has_its_own_database_and_channel_prefix():
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        (name,) = cursor.fetchone()
    assert name == f"test_absurd_{worker}" if worker else name == "test_absurd"
    prefix = settings.CHANNEL_LAYERS["default"]["CONFIG"]["prefix"]
    assert prefix.endswith(worker or "alone")
    assert settings.ABSURD_VAR.name in prefix


def test_a_subprocess_with_the_live_environment_sees_the_test_database(live_environment):
    output = subprocess.run(
        [
            sys.executable,
            "-c",
            "import django; django.setup(); from django.conf import settings as s;"
            "print(s.DATABASES['default']['NAME'], s.ABSURD_ENABLED, s.CHANNEL_LAYERS['default']['CONFIG']['prefix'])",
        ],
        env=live_environment | {"DJANGO_SETTINGS_MODULE": "absurd_project.settings"},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    name, enabled, prefix = output.stdout.split()
    assert name == connection.settings_dict["NAME"]
    assert enabled == "True"
    assert prefix == settings.CHANNEL_LAYERS["default"]["CONFIG"]["prefix"]
    with psycopg.connect(live_environment["ABSURD_DATABASE_URL"]) as other:
        assert other.info.dbname == name


def test_a_private_pair_is_apart_from_the_sessions(private_servers):
    assert servers.status(private_servers).running
    assert servers.status(private_servers) != servers.status(settings.ABSURD_VAR)
