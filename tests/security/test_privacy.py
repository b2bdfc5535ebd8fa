"""What is not for everybody: logs, answers of the API, a proxy's word, and rights that nobody gives himself."""

from __future__ import annotations

import stat
from ipaddress import ip_network
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tasks_app.files.directories import make_private
from tests.tasks_app.callers import Caller, make_key, make_user
from tests.tasks_app.notes import spawn_note
from workers.process import publication

pytestmark = pytest.mark.django_db


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_logs_of_attempts_are_not_for_others(tmp_path):
    path = tmp_path / "attempts" / "1" / "1.log"
    path.parent.mkdir(parents=True, mode=0o755)
    publication.open_log(path)
    assert not mode_of(path.parent) & 0o007
    assert not mode_of(path) & 0o007


def test_a_directory_that_is_open_to_all_is_closed(tmp_path):
    tmp_path.chmod(0o755)
    make_private(tmp_path)
    assert mode_of(tmp_path) == 0o750


def test_a_key_that_only_spawns_reads_no_params_by_respawning():
    task = spawn_note(params={"text": "secret"})
    answer = Caller(make_key("spawn")).post(f"tasks/{task.task_id}/respawn", {})
    assert answer.status_code == 403
    assert b"secret" not in answer.content
    assert Caller(make_key("spawn", "read")).post(f"tasks/{task.task_id}/respawn", {}).status_code == 201


@pytest.mark.parametrize("path", ["tasks", "health", "nothing", "queues/stats", "schema"])
def test_answers_of_the_api_are_kept_by_no_cache(path):
    assert "no-store" in Caller(make_key("read")).get(path)["Cache-Control"]
    assert "no-store" in Caller().get(path)["Cache-Control"]


def test_only_a_configured_proxy_says_that_the_client_came_over_https(settings):
    settings.SECURE_PROXY_SSL_HEADER, settings.SECURE_SSL_REDIRECT = ("HTTP_X_FORWARDED_PROTO", "https"), True
    said = {"X-Forwarded-Proto": "https"}
    caller = Caller(address="192.0.2.7")
    assert caller.get("health", **said).status_code == 301
    settings.ABSURD_PROXIES = (ip_network("192.0.2.0/24"),)
    assert caller.get("health", **said).status_code != 301


def test_an_administrator_makes_nobody_a_superuser_and_touches_none():
    ada = make_user("ada", "Administrator")
    root = User.objects.create_superuser("root", password="correct horse battery")
    client = Client()
    client.force_login(ada)
    page = client.get(f"/admin/auth/user/{ada.pk}/change/").content.decode()
    assert 'name="is_staff"' in page and 'name="is_superuser"' not in page
    form = {"username": "ada", "is_active": "on", "is_staff": "on", "is_superuser": "on", "groups": ada.groups.get().pk}
    form |= {"date_joined_0": "2026-11-30", "date_joined_1": "00:00:00"}
    assert client.post(f"/admin/auth/user/{ada.pk}/change/", form).status_code == 302
    ada.refresh_from_db()
    assert not ada.is_superuser
    for last in ("change", "delete", "password"):
        assert client.post(f"/admin/auth/user/{root.pk}/{last}/", form).status_code in (403, 404)
    action = {"action": "delete_selected", "_selected_action": root.pk, "post": "yes"}
    client.post("/admin/auth/user/", action)
    assert User.objects.filter(pk=root.pk, is_superuser=True).exists()
