from __future__ import annotations

import pytest

from tasks_app.models import Schedule, Task, TaskEvent
from tests.tasks_app.callers import Caller, log_in, make_key

pytestmark = pytest.mark.django_db
NIGHTLY = {"cron": "30 2 * * *", "task_name": "note", "params": {"text": "night"}, "priority": 8}


@pytest.fixture
def api(db: None) -> Caller:
    return Caller(make_key("read", "operate", "admin"))


def test_a_schedule_is_made_read_and_listed(api):
    made = api("PUT", "schedules/nightly", {**NIGHTLY, "reason": "every night"})
    assert (made.status_code, made.body["created_by"], made.body["enabled"]) == (201, "key:ingest", True)
    assert len(made.body["upcoming"]) == 5
    assert made.body["next_run_at"] == made.body["upcoming"][0]
    assert api.get("schedules/nightly").body == made.body
    assert TaskEvent.objects.get(event_type="schedule_made").reason == "every night"
    (listed,) = api.get("schedules?enabled=true&task_name=note").body["schedules"]
    assert (listed["name"], listed["cron"], listed["priority"]) == ("nightly", "30 2 * * *", 8)
    assert api.get("schedules?enabled=false").body["schedules"] == []


def test_put_replaces_and_patch_changes_only_what_it_names(api):
    api("PUT", "schedules/nightly", {**NIGHTLY, "jitter_sec": 60})
    changed = api("PATCH", "schedules/nightly", {"cron": "0 3 * * *", "reason": "later"})
    assert (changed.status_code, changed.body["cron"], changed.body["jitter_sec"]) == (200, "0 3 * * *", 60)
    replaced = api("PUT", "schedules/nightly", {"cron": "0 4 * * *", "task_name": "note", "params": {"text": "x"}})
    assert (replaced.status_code, replaced.body["jitter_sec"], replaced.body["priority"]) == (200, 0, 5)
    assert api("PATCH", "schedules/weekly", {"cron": "0 3 * * *"}).status_code == 404
    assert Schedule.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"cron": "every night"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"time_zone": "Owens/Valley"}, "time_zone"),
        ({"params": {"txt": 1}}, "params.txt"),
        ({"task_name": "notes"}, "task_name"),
        ({"priority": 21}, "priority"),
        ({"catch_up": "never"}, "catch_up"),
        ({"crom": "* * * * *"}, "crom"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_schedule_that_could_never_spawn_is_refused_by_its_fields_path(api, change, path):
    response = api("PUT", "schedules/nightly", {**NIGHTLY, **change})
    assert response.status_code == 422
    assert path in [fault["path"] for fault in response.body["errors"]]
    assert not Schedule.objects.exists()


def test_a_schedule_is_disabled_enabled_run_and_deleted(api):
    api("PUT", "schedules/nightly", NIGHTLY)
    off = api.post("schedules/nightly/disable", {"reason": "telescope is down"}).body
    assert (off["enabled"], off["next_run_at"], off["upcoming"]) == (False, None, [])
    assert api.post("schedules/nightly/enable").body["next_run_at"]
    ran = api.post("schedules/nightly/run", {"reason": "at once"})
    assert (ran.status_code, ran.body["params"], ran.body["created_by"]) == (201, {"text": "night"}, "key:ingest")
    assert api.get("schedules/nightly").body["last_task_id"] == ran.body["task_id"]
    assert api.delete("schedules/nightly?reason=obsolete").status_code == 204
    assert api.get("schedules/nightly").body["code"] == "schedule_not_found"
    assert TaskEvent.objects.get(event_type="schedule_deleted").reason == "obsolete"
    assert Task.objects.count() == 1


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_an_unknown_schedule_is_not_found(api, method):
    assert api(method, "schedules/weekly", None if method == "GET" else {}).status_code == 404


def test_operators_run_schedules_and_administrators_make_them(api):
    api("PUT", "schedules/nightly", NIGHTLY)
    key = Caller(make_key("read", "spawn", "operate"))
    assert key("PUT", "schedules/nightly", NIGHTLY).status_code == 403
    assert key.delete("schedules/nightly").status_code == 403
    assert key.post("schedules/nightly/run").status_code == 201
    operator, administrator = log_in("olga", "Operator"), log_in("ada", "Administrator")
    assert operator("PATCH", "schedules/nightly", {"priority": 1}).status_code == 403
    assert operator.post("schedules/nightly/disable").status_code == 200
    assert administrator("PATCH", "schedules/nightly", {"priority": 1}).body["priority"] == 1
