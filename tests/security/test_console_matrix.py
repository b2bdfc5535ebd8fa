"""Every page of the console, by every group; a page that no rule covers fails."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from tasks_app.models import ApiKey, Limit, Queue, Schedule, TaskEvent
from tasks_app.operations.queues import set_limit
from tasks_app.operations.runs import start
from tests.security.routes import patterns
from tests.tasks_app.callers import make_key, make_user
from tests.tasks_app.notes import spawn_note
from tests.tasks_app.workflows.run_plans import ACTOR, linear

pytestmark = pytest.mark.django_db

PUBLIC, STAFF, VIEWER, OPERATOR, ADMINISTRATOR, NOBODY = range(6)
GROUPS = {"none": STAFF, "Viewer": VIEWER, "Operator": OPERATOR, "Administrator": ADMINISTRATOR}
OPERATIONS = "cancel|retry|reprioritize|requeue|respawn|pause|resume|drain|recycle|run|enable|disable"
RULES = [
    ("login|logout|jsi18n", PUBLIC),
    ("index|password_change|password_change_done|view_on_site|app_list|autocomplete|None", STAFF),
    (r"tasks_app_apikey_(changelist|change|history|add|delete)", ADMINISTRATOR),
    (r"tasks_app_(limit|schedule|queue)_add|tasks_app_schedule_delete|tasks_app_limit_(set|remove)", ADMINISTRATOR),
    (r"tasks_app_freeze_(freeze|thaw|acknowledge)", OPERATOR),
    (r"tasks_app_freeze_(enable|disable|emergency-stop|emergency-recover)", ADMINISTRATOR),
    (r"auth_\w+_(changelist|change|history|add|delete|password_change)", ADMINISTRATOR),
    (r"axes_\w+_(changelist|change|history|delete)", ADMINISTRATOR),
    (rf"tasks_app_(task|run|queue|schedule|worker|task_matching)_({OPERATIONS})", OPERATOR),
    ("page_spawn", OPERATOR),
    (r"page_\w+", VIEWER),
    (r"pipeline_app_calibration_(refuse|accept)|pipeline_app_product_vote", OPERATOR),
    (r"(tasks_app|pipeline_app)_\w+_(changelist|change|history)|pipeline_app_product_(file|stamp)", VIEWER),
    (r"(tasks_app|pipeline_app|axes)_\w+_(add|delete)", NOBODY),
]


def names() -> list[str]:
    return [str(pattern.name) for route, pattern in patterns() if route.startswith("admin/")]


def least(name: str) -> int:
    """Return who may see a page at the least; fails for one that nobody has thought of."""
    found = [role for rule, role in RULES if re.fullmatch(rule, name)]
    assert found, f"say in RULES who may see the page {name}"
    return found[0]


def test_every_page_has_a_rule():
    assert len({least(name) for name in names()}) == 6


def make_objects(worker: Any) -> dict[str, Any]:
    """Make a row of each table that has a page, and return its key by the table's name."""
    key = make_key("read")
    task = spawn_note()
    set_limit("key", "disk", size=2, actor=ACTOR)
    seen = {"ip_address": "192.0.2.1", "username": "x", "user_agent": "", "http_accept": "", "path_info": "/"}
    return {
        "tasks_app_task": task.task_id,
        "tasks_app_run": start(linear(), ACTOR).pk,
        "tasks_app_queue": Queue.objects.get().pk,
        "tasks_app_worker": worker.pk,
        "tasks_app_limit": Limit.objects.get().pk,
        "tasks_app_apikey": ApiKey.objects.get_from_key(key).pk,
        "tasks_app_taskevent": TaskEvent.objects.first().pk,
        "tasks_app_schedule": Schedule.objects.create(name="nightly", cron="0 9 * * *", task_name="note").pk,
        "auth_user": make_user("other").pk,
        "auth_group": Group.objects.first().pk,
        "axes_accessattempt": AccessAttempt.objects.create(failures_since_start=1, **seen).pk,
        "axes_accesslog": AccessLog.objects.create(**seen).pk,
    }


def addresses(worker: Any) -> dict[str, str]:
    """Return an address of each page; those of rows that the test does not make are left out."""
    objects, found = make_objects(worker), {}
    for name in sorted(set(names()) - {"None"}):
        table, _, _ = name.rpartition("_")
        table = "auth_user" if name == "auth_user_password_change" else table
        if name.startswith("tasks_app_freeze_") and not re.search("_(add|change|delete|history)$", name):
            found[name] = reverse(f"admin:{name}")
        elif re.search("_(changelist|add)$", name) or least(name) in (PUBLIC, STAFF):
            found[name] = f"/admin/{name}/" if name in ("login", "logout", "jsi18n", "password_change") else ""
            if re.search("_(changelist|add)$", name) or name == "index":
                found[name] = reverse(f"admin:{name}")
        elif table in objects:
            found[name] = reverse(f"admin:{name}", args=[quote(str(objects[table]))])
    return {name: address for name, address in found.items() if address}


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_sees_its_pages_and_no_other(group, worker):
    client = Client()
    client.force_login(make_user("someone", group))
    wrong = []
    for name, address in addresses(worker).items():
        if name == "logout":
            continue
        status = client.get(address).status_code
        may = GROUPS[group] >= least(name) if least(name) != NOBODY else False
        if status not in ((200, 302) if may else (403,)):
            wrong.append((name, status))
    assert wrong == []


def test_nobody_who_is_not_logged_in_sees_more_than_the_login(worker):
    for name, address in addresses(worker).items():
        answer = Client().get(address)
        if least(name) != PUBLIC:
            assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, "/admin/login/"), name


@pytest.mark.parametrize("group", ["Viewer", "Operator"])
def test_pressing_a_button_that_is_not_shown_is_refused_too(group, worker):
    client = Client()
    client.force_login(make_user("someone", group))
    events = TaskEvent.objects.count
    pages = addresses(worker)
    before = events()
    for name, address in pages.items():
        if least(name) > GROUPS[group] and not name.endswith(("changelist", "history")):
            answer = client.post(address, {"confirmed": "yes", "expected": "1", "reason": "because", "post": "yes"})
            assert answer.status_code == 403, name
    assert events() == before
