"""What people see where there is no page, or none for them: why, what helps, and the way back."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.tasks_app.admin.test_pages import log_in

pytestmark = pytest.mark.django_db
BACK = 'href="/admin/"'


def test_a_refusal_names_the_groups_and_how_the_first_administrator_is_made():
    answer = log_in("Viewer").get("/admin/tasks_app/apikey/add/")
    text = answer.content.decode()
    assert answer.status_code == 403
    assert "<td>Viewer</td>" in text
    assert "manage.py createsuperuser" in text
    assert BACK in text
    assert "console-navigation" in text


@pytest.mark.parametrize("path", ["/admin/no-such-page/", "/nowhere/", "/admin/images/999999/"])
def test_a_missing_page_has_a_way_back_and_a_search(path):
    answer = log_in("Viewer").get(path)
    text = answer.content.decode()
    assert answer.status_code == 404
    assert BACK in text
    assert path in text
    assert "console-search" in text


@pytest.mark.parametrize("application", ["tasks_app", "pipeline_app"])
def test_the_address_of_an_application_leads_to_the_control_room(application):
    answer = log_in("Viewer").get(f"/admin/{application}/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert log_in(name="nobody").get(f"/admin/{application}/").status_code == 404


def test_who_is_not_logged_in_sees_no_state_on_a_missing_page():
    text = Client().get("/nowhere/").content.decode()
    assert BACK in text
    assert "pill" not in text
    assert "console-navigation" not in text


def test_a_path_with_markup_or_bidi_is_shown_as_text():
    text = log_in("Viewer").get("/admin/<b>x\u202e/").content.decode()
    assert "<b>x" not in text
    assert "\u202e" not in text


def test_a_form_of_another_session_is_refused_with_the_remedy():
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/admin/login/", {"username": "a", "password": "b"})
    assert answer.status_code == 403
    assert "Open the form again" in answer.content.decode()


def test_bad_requests_and_errors_have_a_plain_page_with_the_requests_id(monkeypatch):
    answer = Client().get("/admin/?q=%00")
    assert answer.status_code == 400
    assert "NUL character" in answer.content.decode()
    client = log_in("Viewer")
    client.raise_request_exception = False

    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("tasks_app.admin.pages.navigation", broken)
    answer = client.get("/admin/help/", headers={"X-Request-ID": "night-17"})
    text = answer.content.decode()
    assert answer.status_code == 500
    assert "night-17" in text
    assert BACK in text
    assert "secret" not in text
