"""Log lines as text and as JSON: the ids in them, and one line for each record whatever it contains."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from absurd_project.log_lines import JsonLine, OneLine
from tasks_app.models import TaskEvent
from tests.daphne_server import serving
from tests.tasks_app.callers import Caller, make_key, make_user

pytestmark = pytest.mark.django_db


def formatted(formatter: logging.Formatter, records: list[logging.LogRecord]) -> list[str]:
    return [formatter.format(record) for record in records]


@pytest.mark.parametrize(
    ("path", "status"), [("tasks/nothing", 404), ("tasks?limit=x", 400), ("/nothing", 404), ("schedules", 403)]
)
def test_the_id_of_each_refusal_is_in_the_log_and_in_the_answer(caplog, path, status):
    api = Caller(make_key("spawn" if status == 403 else "read"))
    answer = api.get(path, **{"X-Request-ID": "night-7"})
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (status, "night-7")
    assert any(line.endswith(" request=night-7") for line in formatted(OneLine(style="{"), caplog.records))
    objects = [json.loads(line) for line in formatted(JsonLine(), caplog.records)]
    assert any(each.get("request_id") == "night-7" and each["level"] == "WARNING" for each in objects)


def test_the_access_log_names_the_caller_and_leaves_out_the_query(caplog, settings):
    settings.ABSURD_ACCESS_LOG = True
    api = Caller(make_key("read", name="ingest"))
    with caplog.at_level(logging.INFO):
        answer = api.get("tasks?task_name=secret")
    (line,) = [record for record in caplog.records if record.name == "absurd.access"]
    found = json.loads(JsonLine().format(line))
    assert re.fullmatch(r"GET /api/absurd/tasks 200 \d+ 192\.0\.2\.7 key:ingest", found["message"])
    assert (found["status"], found["path"], found["caller"]) == (200, "/api/absurd/tasks", "key:ingest")
    assert "secret" not in json.dumps(found)
    assert answer.headers["X-Request-ID"]
    caplog.clear()
    settings.ABSURD_ACCESS_LOG = False
    api.get("tasks")
    assert not [record for record in caplog.records if record.name == "absurd.access"]


def test_json_has_the_ids_of_the_attempt_and_the_traceback_in_one_line():
    task_id = str(uuid4())
    try:
        raise ValueError("a\nb\u202e")
    except ValueError as error:
        caught = (ValueError, error, error.__traceback__)
    run_id = str(uuid4())
    text = f"attempt failed task={task_id} attempt=3 name=imaging run={run_id}\nforged"
    record = logging.LogRecord("workers", logging.ERROR, __file__, 1, text, None, caught)
    line = JsonLine().format(record)
    assert "\n" not in line and line.isascii()
    found = json.loads(line)
    assert (found["task_id"], found["attempt"], found["task_name"]) == (task_id, 3, "imaging")
    assert found["run_id"] == run_id
    assert "ValueError" in found["exception"]
    assert "request_id" not in found


@pytest.mark.django_db(transaction=True)
def test_a_refused_page_of_the_console_is_one_line_in_the_log(live_environment):
    make_user("ann", "Viewer")
    with serving(live_environment) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        client.get("/admin/login/")
        form = {"username": "ann", "password": "correct horse battery"}
        client.post("/admin/login/", data=form | {"csrfmiddlewaretoken": client.cookies["csrftoken"]})
        assert client.get("/admin/auth/user/", headers={"X-Request-ID": "refused-7"}).status_code == 403
    lines = (Path(live_environment["ABSURD_VAR"]) / "web.log").read_text().splitlines()
    assert [line for line in lines if "Forbidden" in line and line.endswith("request=refused-7")]
    assert not [line for line in lines if "Traceback" in line or line.startswith(" ")]


def test_what_a_request_spawns_is_recorded_with_its_id():
    answer = Caller(make_key("spawn")).post("tasks", {"task_name": "echo", "params": {}}, **{"X-Request-ID": "night-7"})
    event = TaskEvent.objects.get(task_id=answer.body["task_id"])
    assert (event.event_type, event.detail["request_id"]) == ("spawned", "night-7")


@pytest.mark.django_db(transaction=True)
def test_a_web_process_logs_in_json_when_it_is_asked_to(live_environment):
    wanted = {"ABSURD_LOG_FORMAT": "json", "ABSURD_ACCESS_LOG": "true"}
    with serving({**live_environment, **wanted}) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/absurd/tasks/nothing", headers={"X-Request-ID": "seen"})
        assert answer.json()["request_id"] == "seen"
    lines = (Path(live_environment["ABSURD_VAR"]) / "web.log").read_text().splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    mine = [each for each in found if each.get("request_id") == "seen"]
    assert {each["logger"] for each in mine} >= {"absurd.access", "django.request"}
    assert len(found) == len(lines), [line for line in lines if not line.startswith("{")]
