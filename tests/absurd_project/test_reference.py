"""The reference has all that the code reads, offers and runs; variables that nothing reads are warned of."""

from __future__ import annotations

import re

import pytest

from absurd_project import env, variables
from absurd_project.apps import check_environment
from absurd_project.reference import commands
from absurd_project.reference.pages import PAGES, page
from pipeline_app.api import urls as pipeline_urls
from pipeline_app.api import views
from tasks_app.api import lists, urls
from tasks_app.defaults import GROUPS, OWN
from tasks_app.engine import registry
from tasks_app.monitoring.thresholds import THRESHOLDS
from tasks_app.operations.catalogue import OPERATIONS
from tasks_app.operations.selection import TaskFilter
from tests.security.test_settings import run_python

USED = re.compile(r"""environ(?:\.get\(|\[)["'](ABSURD_\w+)["']""")


def test_every_variable_that_is_read_is_described_and_no_other():
    described = {setting.name for group in variables.DESCRIBED.values() for setting in group}
    assert described - {setting.name for setting in GROUPS[OWN]} == set(variables.READ)


def test_reading_a_variable_without_a_description_is_an_error(monkeypatch):
    with pytest.raises(LookupError, match="ABSURD_NEW_ONE is read but not described"):
        env.integer("ABSURD_NEW_ONE")


def test_the_page_of_settings_has_type_default_and_reader_of_each():
    text = page("settings")
    for name, found in variables.READ.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` | {found.default} | ")]
        assert row.endswith(f". *{found.kind}; read by {found.setting.process}* |")
    for line in (
        "| `ABSURD_LEASE_SEC` | `60` | how long a claim is valid without renewal. *seconds from 2; read by web, "
        "workers* |",
        "| `ABSURD_ENABLED` | `false`; `true` under `make up` | ",
        "| `ABSURD_DATABASE_URL` | a private PostgreSQL | ",
        *(f"| `{name}` | {default:g} |" for name, (default, _) in THRESHOLDS.items()),
        "| `refused_per_min` | 300 |",
    ):
        assert line in text


def test_a_variable_that_nothing_reads_is_warned_of_with_the_nearest_name(monkeypatch):
    assert check_environment() == []
    monkeypatch.setenv("ABSURD_LEASE_SECS", "60")
    monkeypatch.setenv("ABSURD_DATABASE_URL_FIL", "/run/secrets/url")
    first, second = check_environment()
    assert (first.id, first.msg, first.hint) == (
        "absurd_project.W001", "ABSURD_DATABASE_URL_FIL is set, but nothing reads it",
        "Did you mean ABSURD_DATABASE_URL_FILE?",
    )  # fmt: skip
    assert second.hint == "Did you mean ABSURD_LEASE_SEC?"


def test_the_warning_is_one_line_of_the_log_and_one_of_the_checks(tmp_path):
    said = run_python(tmp_path, "manage.py", "check", ABSURD_LEASE_SECS="60").stderr
    (logged,) = [line for line in said.splitlines() if "absurd_project.apps" in line]
    assert "ABSURD_LEASE_SECS is set, but nothing reads it. Did you mean ABSURD_LEASE_SEC?" in logged
    assert "?: (absurd_project.W001) ABSURD_LEASE_SECS is set" in said
    help_of_command = run_python(tmp_path, "manage.py", "absurd_reference", "settings", ABSURD_LEASE_SEC="60")
    assert (help_of_command.returncode, help_of_command.stderr) == (0, "")
    assert help_of_command.stdout.startswith("# Settings\n")


def test_a_variable_that_is_set_is_known_as_well_as_one_that_is_not(tmp_path):
    given = {
        "ABSURD_MODE": "local", "ABSURD_BIND": "127.0.0.1", "ABSURD_LOG_FORMAT": "line", "ABSURD_QUEUE_NAME": "trial",
        "ABSURD_DATA_ROOTS": str(tmp_path), "ABSURD_BACKUP_DIR": str(tmp_path), "ABSURD_HOSTS": "localhost",
        "ABSURD_HEALTH": "depth_warn=8", "ABSURD_NOTIFY_QUIET": "22:00-07:00", "ABSURD_PROXIES": "unix",
        "ABSURD_ALLOWED_ORIGINS": "https://a.example.org", "ABSURD_INTERNAL_FILES": "/files", "ABSURD_WARM": "1",
        "ABSURD_SMTP_URL": "smtp://mail", "ABSURD_API_KEY": "key", "ABSURD_LEASE_SEC": "60", "ABSURD_POLL_ONLY": "1",
        "ABSURD_CASA_DATA": str(tmp_path), "ABSURD_TASK_MODULES": "json", "ABSURD_DISK_FLOOR_GB": "1",
    }  # fmt: skip
    assert "nothing reads it" not in run_python(tmp_path, "manage.py", "check", **given).stderr


def test_the_page_of_commands_has_every_command_and_option():
    text = page("commands")
    known = commands.names()
    assert {"runworker", "absurd_up", "absurd_ingest", "absurd_tasks"} <= set(known)
    for name in known:
        section = text.split(f"### {name}\n")[1].split("\n### ")[0]
        parser = commands.parser_of(name)
        for each in (parser, *commands.subparsers(parser).values()):
            for action in commands._own(each):
                assert all(option in section for option in action.option_strings), (name, action.option_strings)
    assert "--settings" not in text


def test_the_page_of_the_api_has_every_route_condition_and_scope():
    text = page("rest-api")
    for route in (*urls.VIEWS, *(f"pipeline/{each}" for each in pipeline_urls.VIEWS)):
        path = re.sub(r"<\w+:(\w+)>", r"{\1}", route).replace("{pk}", "{id}")
        assert re.search(rf"^### `[A-Z]+ /{re.escape(path)}`$", text, re.MULTILINE), path
    of_pipeline = (views.ObservationFilter, views.ProductFilter, views.CalibrationFilter, views.MeasurementFilter)
    for shape in (TaskFilter, lists.ArchivedTaskFilter, lists.RunFilter, lists.WorkerFilter, *of_pipeline):
        assert {name for name in shape.base_filters if f"| `{name}` |" not in text} == set()
    health, cancel = (
        text.split(f"### `{each}`")[1].split("###")[0] for each in ("GET /health", "DELETE /tasks/{task_id}")
    )
    assert "Scope: none." in health and "Scope: operate." in cancel


def test_the_other_pages_have_what_is_registered():
    messages, names, operations = (page(name) for name in ("feed-messages", "task-names", "operations"))
    for kind in ("hello", "task_update", "queue_stats_update", "progress", "worker_update", "log", "resync", "pong"):
        assert f"## {kind}\n" in messages
    assert {name for name in registry.names() if f"## {name}\n" not in names} == set()
    assert "standard-pipeline" in names
    assert {each.label for each in OPERATIONS.values() if f"### {each.label}\n" not in operations} == set()


@pytest.mark.parametrize("name", PAGES)
def test_no_table_of_a_page_is_broken(name):
    for table in re.findall(r"(?:^\|.*\n)+", page(name), re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, table
