"""What the environment may say: refused by name, without a secret in the answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks_app.formats import without_passwords

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"ABSURD_MODE": "production", "SECRET_KEY": "0123456789" * 5, "ABSURD_HOSTS": "a.example.org"}
DATABASE = "postgresql://absurd:hunter2@127.0.0.1:1/absurd"


def run_python(tmp_path: Path, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program in an environment that has none of the caller's settings."""
    ours = ("ABSURD_", "DJANGO_", "SECRET")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    environment = inherited | {"ABSURD_VAR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "absurd_project.settings"} | given
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def loaded(tmp_path: Path, **given: str) -> str:
    """Load the settings in a process of their own; return what it says on standard error."""
    return run_python(tmp_path, "manage.py", "check", **given).stderr


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"ABSURD_DATABASE_URL": "mysql://absurd:hunter2@db/absurd"}, "ABSURD_DATABASE_URL"),
        ({"ABSURD_DATABASE_URL": "absurd:hunter2@db/absurd"}, "ABSURD_DATABASE_URL"),
        ({"ABSURD_DATABASE_URL": "postgresql://absurd:hunter2@db:54x/absurd"}, "ABSURD_DATABASE_URL"),
        ({"ABSURD_DATABASE_URL": "postgresql://absurd:hunter2@[::1/absurd"}, "ABSURD_DATABASE_URL"),
        ({"ABSURD_REDIS_URL": "http://:hunter2@db"}, "ABSURD_REDIS_URL"),
        ({**GOOD, "SECRET_KEY": "hunter2"}, "SECRET_KEY"),
        ({**GOOD, "SECRET_KEY": "django-insecure-hunter2" + "0123456789" * 5}, "SECRET_KEY"),
        ({**GOOD, "SECRET_KEY": "ab" * 40}, "SECRET_KEY"),
        ({**GOOD, "ABSURD_HOSTS": ""}, "ABSURD_HOSTS"),
        ({**GOOD, "ABSURD_HOSTS": " , "}, "ABSURD_HOSTS"),
        ({"ABSURD_DATABASE_URL": DATABASE}, "SECRET_KEY"),
        ({**GOOD, "ABSURD_DATABASE_URL": "postgresql://absurd:hunter2%zz@db/absurd"}, "ABSURD_DATABASE_URL"),
        ({**GOOD, "ABSURD_DATABASE_URL": "postgresql://absurd:hunter2@db/absurd?colour=red"}, "ABSURD_DATABASE_URL"),
        ({"ABSURD_DATABASE_URL": "postgresql:absurd"}, "ABSURD_DATABASE_URL"),
        *(
            ({"ABSURD_FILES_BIND": bad, "ABSURD_FILES_KEY": "x" * 32}, "ABSURD_FILES_BIND")
            for bad in ("0.0.0.0:8001", "10.0.0.5", "10.0.0.5:0", "host:8001", "[::]:8001")
        ),
        ({"ABSURD_FILES_BIND": "10.0.0.5:8001"}, "ABSURD_FILES_BIND"),
        ({"ABSURD_FILES_KEY": "hunter2"}, "ABSURD_FILES_KEY"),
        *(
            ({"ABSURD_ALLOWED_ORIGINS": f"https://a.example.org,{bad}"}, "ABSURD_ALLOWED_ORIGINS")
            for bad in (
                "*",
                "null",
                "a.example.org",
                "https://b/",
                "https://b:443",
                "https://b:x",
                "https://B",
                "ws://b",
            )
        ),
        ({"ABSURD_NOTIFY": "https://a.example.org/hunter2,ops@example.org"}, "ABSURD_NOTIFY"),
        ({"ABSURD_SMTP_URL": "http://absurd:hunter2@mail"}, "ABSURD_SMTP_URL"),
        *(({"ABSURD_NOTIFY_QUIET": bad}, "ABSURD_NOTIFY_QUIET") for bad in ("22-7", "24:00-07:00", "22:00")),
        ({"ABSURD_LOG_FORMAT": "xml"}, "ABSURD_LOG_FORMAT"),
        ({"ABSURD_QUEUE_NAME": "a;b"}, "ABSURD_QUEUE_NAME"),
        ({"ABSURD_TASK_MODULES": "../mine"}, "ABSURD_TASK_MODULES"),
        ({"ABSURD_TASK_MODULES": "no_such_module"}, "ABSURD_TASK_MODULES"),
    ],
)
def test_a_bad_value_is_refused_by_its_own_name_in_one_line_without_its_secret(tmp_path, given, name):
    said = loaded(tmp_path, **given)
    assert said.startswith(f"manage.py: {name}="), said
    assert len(said.splitlines()) == 1
    assert "hunter2" not in said


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Return a production environment whose secrets are all in files."""
    (tmp_path / "secret").write_text(GOOD["SECRET_KEY"] + "\n")
    (tmp_path / "url").write_text(DATABASE + "\n")
    given = {"ABSURD_DATABASE_URL_FILE": str(tmp_path / "url"), "SECRET_KEY_FILE": str(tmp_path / "secret")}
    return {**given, "ABSURD_HOSTS": "a.example.org"}


SHOWN = """
import django, json
django.setup()
from django.conf import settings
print(json.dumps([settings.SECRET_KEY, settings.DATABASES["default"]["PASSWORD"], settings.ABSURD_MODE]))
"""


def test_secrets_are_read_from_files_which_are_refused_by_name(tmp_path, files):
    shown = json.loads(run_python(tmp_path, "-c", SHOWN, **files).stdout)
    assert shown == [GOOD["SECRET_KEY"], "hunter2", "production"]
    for name, text in (("SECRET_KEY_FILE", "/nonexistent"), ("ABSURD_DATABASE_URL_FILE", str(tmp_path))):
        said = loaded(tmp_path, **{**files, name: text})
        assert (
            said.startswith(f"manage.py: {name}={text!r} is not valid: it cannot be read")
            and len(said.splitlines()) == 1
        )
    (tmp_path / "secret").write_text("\n")
    assert "SECRET_KEY_FILE" in loaded(tmp_path, **files)


def test_only_the_web_needs_a_secret_key_and_host_names(tmp_path):
    given = {"ABSURD_MODE": "production", "ABSURD_DATABASE_URL": DATABASE, "ABSURD_REDIS_URL": "redis://127.0.0.1:1"}
    for command in ("check", "absurd_up"):
        assert "SECRET_KEY" in run_python(tmp_path, "manage.py", command, **given).stderr
    assert "SECRET_KEY" in run_python(tmp_path, "-c", "import django; django.setup()", **given).stderr
    for command in (["migrate", "--check"], ["absurd_tasks", "list"]):
        said = run_python(tmp_path, "manage.py", *command, **given).stderr
        assert "SECRET_KEY" not in said and "127.0.0.1" in said, said  # the database of the URL, which is not there


def test_the_web_listens_on_other_addresses_in_production_only(tmp_path):
    assert "local mode" in loaded(tmp_path, ABSURD_BIND="0.0.0.0")
    assert "ABSURD_BIND" in loaded(tmp_path, **GOOD, ABSURD_DATABASE_URL=DATABASE, ABSURD_BIND="everywhere")
    for address in ("0.0.0.0", "::", "127.0.0.1"):
        assert "ABSURD_BIND" not in loaded(tmp_path, **GOOD, ABSURD_DATABASE_URL=DATABASE, ABSURD_BIND=address)


def test_a_good_production_environment_is_accepted(tmp_path):
    assert "is not usable" not in loaded(tmp_path, **GOOD, ABSURD_DATABASE_URL=DATABASE)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://absurd:hunter2@db:5432/absurd",
        "postgresql://absurd:hun/ter2@db/absurd",
        "postgresql://absurd:hun@ter2@db/absurd",
        'invalid port number: "postgresql://absurd:hunter2@db:x/absurd"',
        "redis://:hunter2@db",
        "host=db password=hunter2 user=absurd",
        "host=db password='hunter2 ter2' user=absurd",
        "postgresql://db/absurd?user=absurd&password=hunter2",
        "absurd:hunter2@db",
    ],
)
def test_passwords_are_left_out_of_what_is_shown(text):
    shown = without_passwords(text)
    assert "ter2" not in shown and "db" in shown
    assert "absurd" in shown or "absurd" not in text
