"""Who did it, from where, and why; and whose word is believed for the from where."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from absurd_project import env
from tasks_app.auth import client_address
from tasks_app.models import TaskEvent
from tasks_app.operations.tasks import cancel
from tests.tasks_app.callers import ELSEWHERE, Caller, log_in, make_key
from tests.tasks_app.notes import spawn_note

SPAWN = {"task_name": "note", "params": {"text": "a"}}
LIE = {"X-Forwarded-For": "203.0.113.5"}


def address_of(event_type: str) -> str | None:
    return TaskEvent.objects.filter(event_type=event_type).latest("id").detail.get("address")


@pytest.mark.django_db
def test_every_kind_of_event_says_from_where_it_was_caused():
    api = Caller(make_key("spawn", "operate"))
    task_id = api.post("tasks", SPAWN, **LIE).body["task_id"]
    api.post(f"tasks/{task_id}/priority", {"priority": 9, "reason": "now"}, **LIE)
    api.delete(f"tasks/{task_id}", {"reason": "a slip"}, **LIE)
    api.post("queues/dsa110-pipeline/pause", {"reason": "mending"}, **LIE)
    for event_type in ("spawned", "reprioritized", "cancelled", "paused"):
        assert address_of(event_type) == ELSEWHERE, event_type
    event = TaskEvent.objects.get(event_type="cancelled")
    assert (event.actor, event.reason) == ("key:ingest", "a slip")


@pytest.mark.django_db
def test_an_act_in_the_console_says_from_where_too():
    task = spawn_note()
    client = log_in("olga", "Operator").client
    form = {"confirmed": "yes", "expected": "1", "reason": "wrong field"}
    client.post(f"/admin/tasks_app/task/{task.task_id}/cancel/", form, REMOTE_ADDR="2001:db8::7")
    assert address_of("cancelled") == "2001:db8::7"


@pytest.mark.django_db
def test_what_happens_after_a_request_or_outside_of_one_has_no_address():
    Caller(make_key("spawn")).post("tasks", SPAWN)
    cancel(spawn_note().task_id, actor="cli:root@host", reason="outside")
    assert address_of("cancelled") is None


PROXIES = (ip_network("127.0.0.1/32"), ip_network("10.0.0.0/8"))


@pytest.mark.parametrize(("proxies", "peer_address", "header", "expected"), [
    ((), "127.0.0.1", "203.0.113.5", "127.0.0.1"),
    (PROXIES, "127.0.0.1", "203.0.113.5", "203.0.113.5"),
    (PROXIES, "127.0.0.1", "198.51.100.1, 203.0.113.5, 10.0.0.2", "203.0.113.5"),
    (PROXIES, "127.0.0.1", "198.51.100.1, <script>", "127.0.0.1"),
    (PROXIES, "127.0.0.1", "", "127.0.0.1"),
    (PROXIES, "192.0.2.7", "203.0.113.5", "192.0.2.7"),
    (PROXIES, "", "203.0.113.5", ""),
    (("unix",), "", "2001:db8::7", "2001:db8::7"),
], ids=["none", "one", "two", "nonsense", "silent", "not-a-proxy", "no-address", "unix"])  # fmt: skip
def test_a_forwarded_address_is_believed_from_configured_proxies_only(
    settings, proxies, peer_address, header, expected
):
    settings.ABSURD_PROXIES = proxies
    assert client_address.address_of({"REMOTE_ADDR": peer_address, "HTTP_X_FORWARDED_FOR": header}) == expected


def test_a_list_of_proxies_that_cannot_be_read_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("ABSURD_PROXIES", "10.0.0.0/8, unix, 127.0.0.1")
    assert env.networks("ABSURD_PROXIES", "unix") == (ip_network("10.0.0.0/8"), "unix", ip_network("127.0.0.1"))
    monkeypatch.setenv("ABSURD_PROXIES", "proxy.example.org")
    with pytest.raises(env.BadSetting, match="ABSURD_PROXIES"):
        env.networks("ABSURD_PROXIES", "unix")


@pytest.mark.django_db
@pytest.mark.parametrize(("address", "host", "headers", "status"), [
    ("127.0.0.1", "localhost:8000", {}, 200),
    ("::1", "[::1]:8000", {}, 200),
    ("127.9.9.9", "127.0.0.1", {}, 200),
    ("::ffff:127.0.0.1", "localhost", {}, 200),
    ("127.0.0.1", "localhost.evil.example", {}, 400),
    ("127.0.0.1", "evil.example", {}, 400),
    ("127.0.0.1", "", {}, 400),
    ("192.0.2.7", "localhost", {}, 401),
    ("::ffff:192.0.2.7", "localhost", {}, 401),
    ("192.0.2.7", "localhost", {"X-Forwarded-For": "127.0.0.1"}, 401),
    ("127.0.0.1", "localhost", {"X-Forwarded-For": "192.0.2.7"}, 401),
    ("127.0.0.1", "localhost", {"Forwarded": "for=192.0.2.7"}, 401),
], ids=[
    "port", "v6", "whole-loopback", "mapped", "suffix", "rebound", "no-host", "elsewhere", "mapped-elsewhere", "lie",
    "forwarded", "forwarded-rfc",
])  # fmt: skip
def test_reading_without_a_key_is_for_this_machine_under_its_own_names(address, host, headers, status):
    assert Caller(address=address).get("tasks", Host=host, **headers).status_code == status
