"""What is edited by two people at once: the second sees an error, and nothing is lost unseen."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from tasks_app.models import ApiKey, Limit, Queue, Schedule
from tasks_app.operations import schedules
from tasks_app.operations.queues import set_limit
from tests.tasks_app.admin.test_pages import log_in, page
from tests.tasks_app.callers import make_key, make_user
from tests.tasks_app.notes import spawn_note

pytestmark = pytest.mark.django_db
Case = tuple[str, Callable[[], Any], str, str, str]


def a_schedule() -> str:
    wanted = {"cron": "0 3 * * *", "task_name": "note", "params": {"text": "a"}}
    return reverse("admin:tasks_app_schedule_change", args=[schedules.save("a", **wanted, actor="user:alice").pk])


def a_queue() -> str:
    spawn_note()
    return reverse("admin:tasks_app_queue_change", args=[Queue.objects.get().pk])


def a_key() -> str:
    make_key("read")
    return reverse("admin:tasks_app_apikey_change", args=[ApiKey.objects.get().pk])


def a_limit() -> str:
    limit = set_limit("key", "calibrator", actor="user:alice", size=4, reason="memory")
    return reverse("admin:tasks_app_limit_set", args=[limit.pk])


def a_user() -> str:
    return reverse("admin:auth_user_change", args=[make_user("vera", "Viewer").pk])


CASES = {
    "schedule": (a_schedule, "cron", "0 4 * * *", "0 5 * * *", lambda: Schedule.objects.get().cron),
    "queue": (a_queue, "description", "for Ann", "for Bob", lambda: Queue.objects.get().description),
    "key": (a_key, "name", "ann", "bob", lambda: ApiKey.objects.get().name),
    "limit": (a_limit, "size", "6", "2", lambda: str(Limit.objects.get().size)),
    "user": (a_user, "first_name", "Ann", "Bob", lambda: User.objects.get(username="vera").first_name),
}


def fields_of(response: Any) -> dict[str, Any]:
    """Return what a browser would send of the form on a page."""
    form = response.context.get("form") or response.context["adminform"].form
    sent = {name: form[name].value() for name in form.fields}
    sent = {name: value for name, value in sent.items() if value not in (None, False, [])}
    for name in [name for name, value in sent.items() if hasattr(value, "year")]:
        sent |= {f"{name}_0": f"{sent[name]:%Y-%m-%d}", f"{name}_1": f"{sent[name]:%H:%M:%S}"}
        del sent[name]
    return {**sent, "seen": seen_in(response.content.decode()), "reason": "because", "confirmed": "yes"}


def seen_in(text: str) -> str:
    (seen,) = re.findall(r'name="seen" value="(\w+)"', text)
    return seen


@pytest.mark.parametrize("kind", CASES)
def test_the_second_who_saves_is_told_and_saves_when_they_send_it_again(kind: str):
    make, field, first, second, stored = CASES[kind]
    address, admin = make(), log_in("Administrator")
    for user in User.objects.filter(username="someone"):
        user.is_superuser = True  # people are changed by those who may
        user.save()
    tabs = [fields_of(admin.get(address)) for _ in range(2)]
    assert admin.post(address, {**tabs[0], field: first}).status_code == 302
    assert stored() == first
    answer = admin.post(address, {**tabs[1], field: second})
    text = answer.content.decode()
    assert answer.status_code == 200 and "Another person changed this after the page was opened" in text
    assert f"{field.replace('_', ' ')} is {first}" in text and second in text
    assert stored() == first
    again = {**tabs[1], field: second, "seen": seen_in(text)}
    assert admin.post(address, again).status_code == 302
    assert stored() == second


def test_a_form_that_nobody_else_has_changed_is_saved_although_the_row_works_on():
    """What a schedule notes of its runs is not what is edited."""
    address, admin = a_schedule(), log_in("Administrator")
    sent = fields_of(admin.get(address))
    schedules.run_now("a", actor="user:alice")
    assert admin.post(address, {**sent, "cron": "0 6 * * *"}).status_code == 302
    assert Schedule.objects.get().cron == "0 6 * * *"
    assert "0 6 * * *" in page(admin, address)
