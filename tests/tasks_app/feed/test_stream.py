"""The feed as server-sent events from a real web process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from channels.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session

from absurd_project.routing import make_application
from tasks_app.engine.complete import complete_task
from tasks_app.feed import access, feed, streams
from tasks_app.models import ApiKey
from tests.daphne_server import serving
from tests.tasks_app.callers import ELSEWHERE, Caller, make_key, make_user
from tests.tasks_app.feed.feed_clients import socket, stream
from tests.tasks_app.listeners import Listener, in_thread
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db(transaction=True)


def spawn_and_complete() -> None:
    spawn_note()
    complete_task(claim_one(make_worker()), {"ok": True}, REPORT)


async def test_it_shows_what_the_socket_shows(live_environment):
    with serving(live_environment) as port:
        async with socket(port, "types=task_update") as one, stream(port, "types=task_update") as other:
            assert await one.next() == await other.next()
            await in_thread(spawn_and_complete)()
            output = [await other.next() for _ in range(3)]
            assert output == [await one.next() for _ in range(3)]
            assert [each["update"]["status"] for each in output] == ["pending", "claimed", "completed"]
            assert other.last_id == output[-1]["event_id"]


async def test_a_browser_goes_on_where_it_was_cut_off(live_environment):
    await in_thread(spawn_and_complete)()
    with serving(live_environment) as port:
        async with stream(port, "since=0&types=task_update") as client:
            output = [await client.next() for _ in range(3)]
            last = client.last_id
        async with stream(port, "types=task_update&since=0", Last_Event_ID=str(last)) as client:
            await client.next()
            assert (await client.next())["event_id"] == output[-1]["event_id"] + 1
        async with stream(port, f"since={10**17}") as client:
            await client.next()
            assert (await client.next())["type"] == "resync"


async def test_the_filters_are_those_of_the_socket(live_environment):
    task = await in_thread(spawn_note)()
    await in_thread(spawn_note)(queue_name="other")
    with serving(live_environment) as port:
        async with stream(port, f"since=0&task_id={task.task_id}") as client:
            assert (await client.first("task_update"))["task_id"] == str(task.task_id)
        async with stream(port, "since=0&queue=other&types=task_update") as client:
            await client.next()
            assert (await client.next())["queue_name"] == "other"


async def test_a_hundred_clients_cost_no_thread(live_environment):
    with serving(live_environment) as port:
        async with stream(port) as first:
            await first.next()
            (daphne,) = [each for each in psutil.Process().children() if str(port) in each.cmdline()]
            before = daphne.num_threads()
            clients = [stream(port) for _ in range(100)]
            opened = [await client.__aenter__() for client in clients]
            await in_thread(spawn_note)()
            for client in (first, *opened):
                await client.first("task_update", timeout=30)
            await asyncio.sleep(0.5)
            assert daphne.num_threads() - before < 20
            for client in clients:
                await client.__aexit__(None, None, None)


async def get(port: int, query: str = "", **headers: str) -> httpx.Response:
    asked = {"Accept": "text/event-stream", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.get(f"http://127.0.0.1:{port}/api/absurd/feed?{query}", headers=asked)


async def test_what_it_does_not_serve_is_a_problem(live_environment):
    narrow = await in_thread(make_key)("spawn")
    with serving(live_environment) as port:
        for answer, status, code in (
            (await get(port, "since=x"), 400, "bad_query"),
            (await get(port, "sinec=1"), 400, "bad_query"),
            (await get(port, "", Last_Event_ID="first"), 400, "bad_query"),
            (await get(port, "", X_API_Key="nonsense"), 401, "bad_api_key"),
            (await get(port, "", X_API_Key=narrow), 403, "permission_denied"),
            (await get(port, "", Host="evil.example.org"), 400, "bad_request"),
            (await get(port, "ticket=nonsense"), 401, "bad_ticket"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (status, code)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_outside_asgi_it_shows_nothing():
    answer = Caller(make_key("read")).get("feed")
    assert (answer.status_code, answer["Content-Type"], answer.content) == (
        200,
        "text/event-stream",
        b"retry: 2000\n\n",
    )
    assert Caller().get("feed").status_code == 401


def test_the_schema_of_the_messages_is_served():
    reader = Caller(make_key("read"))
    schema = reader.get("feed/schema").body
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {each["$ref"].rpartition("/")[2] for each in schema["oneOf"]} >= {"hello", "task_update", "log"}
    assert Caller().get("feed/schema").status_code == 401


def ticket_of(port: int, key: str) -> str:
    answer = httpx.post(f"http://127.0.0.1:{port}/api/absurd/feed/ticket", headers={"X-API-Key": key})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["expires_in_sec"] == 60
    ticket: str = answer.json()["ticket"]
    return ticket


async def test_a_ticket_opens_one_connection_and_is_in_no_log(live_environment):
    key = await in_thread(make_key)("read")
    with serving(live_environment, options=("-v", "1", "--access-log", "-")) as port:
        tickets = [await asyncio.to_thread(ticket_of, port, key) for _ in range(2)]
        async with socket(port, f"ticket={tickets[0]}") as client:
            assert (await client.next())["type"] == "hello"
        async with stream(port, f"ticket={tickets[1]}&since=0") as client:
            assert (await client.next())["type"] == "hello"
        for ticket in tickets:
            async with socket(port, f"ticket={ticket}") as client:
                assert await client.close_code() == 4401
            assert (await get(port, f"ticket={ticket}")).status_code == 401
        await asyncio.sleep(0.5)
    log = (Path(live_environment["ABSURD_VAR"]) / "web.log").read_text()
    assert "GET /api/absurd/feed" in log
    assert "WSCONNECT /ws/status" in log
    for secret in (*tickets, key, "ticket="):
        assert secret not in log


def test_tickets_are_for_readers():
    assert Caller().post("feed/ticket").status_code == 401
    assert Caller(make_key("spawn")).post("feed/ticket").status_code == 403
    assert Caller().get("feed/ticket").status_code in (401, 405)
    caller = Caller()
    caller.client.force_login(make_user("vera", "Viewer"))
    assert caller.post("feed/ticket").status_code == 201
    caller.client.force_login(make_user("nora"))
    assert caller.post("feed/ticket").status_code == 403


def scope_of(query: str = "", **headers: str) -> dict[str, Any]:
    named = {"host": "localhost:8000", "accept": "text/event-stream"} | {
        name.replace("_", "-").lower(): text for name, text in headers.items()
    }
    return {
        "type": "http",
        "method": "GET",
        "path": "/api/absurd/feed",
        "query_string": query.encode(),
        "headers": [(name.encode(), text.encode()) for name, text in named.items()],
        "client": (ELSEWHERE, 1),
        "server": ("127.0.0.1", 8000),
    }


async def opened(scope: dict[str, Any]) -> ApplicationCommunicator:
    """Begin a stream in this process, whose patience can be set."""
    client = ApplicationCommunicator(make_application(), scope)
    await client.send_input({"type": "http.request", "body": b""})
    assert (await client.receive_output(60))["status"] == 200
    assert (await client.receive_output(60))["body"] == b"retry: 2000\n\n"
    assert b"hello" in (await client.receive_output(60))["body"]
    return client


async def test_a_quiet_stream_beats(monkeypatch):
    assert streams.HEARTBEAT_SEC == 15
    monkeypatch.setattr(streams, "HEARTBEAT_SEC", 0.1)
    client = await opened(scope_of(x_api_key=await in_thread(make_key)("read")))
    assert (await client.receive_output(60))["body"] == b": heartbeat\n\n"
    await client.send_input({"type": "http.disconnect"})
    await client.wait(60)
    assert feed().position is None


def revoke() -> None:
    ApiKey.objects.update(revoked=True)


def remove_owner() -> None:
    User.objects.update(is_active=False)


def log_out() -> None:
    Session.objects.all().delete()


def lose_permission() -> None:
    User.objects.get().groups.clear()


def key_with_owner() -> str:
    return make_key("read", owner=make_user("olga"))


def ticket_for_key() -> str:
    return access.issue_ticket(key=key_with_owner())


def ticket_for_login() -> str:
    caller = Caller()
    caller.client.force_login(make_user("vera", "Viewer"))
    ticket: str = caller.post("feed/ticket").body["ticket"]
    return ticket


@pytest.mark.parametrize("end", [revoke, remove_owner])
@pytest.mark.parametrize("by_ticket", [True, False], ids=["ticket", "key"])
async def test_a_stream_ends_when_its_key_opens_nothing_any_more(monkeypatch, end, by_ticket):
    monkeypatch.setattr("tasks_app.feed.access.RECHECK_SEC", 0.3)
    if by_ticket:
        client = await opened(scope_of(f"ticket={await in_thread(ticket_for_key)()}"))
    else:
        client = await opened(
            scope_of(x_api_key=await in_thread(make_key)("read", owner=await in_thread(make_user)("o")))
        )
    assert await client.receive_nothing(0.8, 0.05)
    await in_thread(end)()
    assert not (await client.receive_output(60))["more_body"]
    await client.wait(60)


async def test_one_who_came_through_a_proxy_of_this_machine_does_not_go_on_as_a_local_reader(monkeypatch):
    def log_in() -> str:
        caller = Caller()
        caller.client.force_login(make_user("vera", "Viewer"))
        return caller.client.cookies["sessionid"].value

    monkeypatch.setattr("tasks_app.feed.access.RECHECK_SEC", 0.3)
    scope = scope_of(cookie=f"sessionid={await in_thread(log_in)()}", x_forwarded_for=ELSEWHERE)
    client = await opened({**scope, "client": ("127.0.0.1", 1)})
    await in_thread(log_out)()
    assert not (await client.receive_output(60))["more_body"]
    await client.wait(60)


@pytest.mark.parametrize(("end", "code"), [(log_out, 4401), (lose_permission, 4403), (remove_owner, 4401)])
async def test_a_socket_opened_by_a_ticket_ends_with_the_login_behind_it(monkeypatch, end, code):
    monkeypatch.setattr("tasks_app.feed.access.RECHECK_SEC", 0.3)
    listener = Listener(f"ticket={await in_thread(ticket_for_login)()}", client=(ELSEWHERE, 1))
    await listener.open()
    assert await listener.communicator.receive_nothing(0.8, 0.05)
    await in_thread(end)()
    assert await listener.communicator.receive_output(60) == {"type": "websocket.close", "code": code}
    await listener.close()


async def test_a_ticket_is_forged_too_old_or_of_another_kind(monkeypatch):
    ticket = await in_thread(ticket_for_key)()
    assert await Listener(f"ticket={ticket}x", client=(ELSEWHERE, 1)).refusal() == 4401
    with monkeypatch.context() as patch:
        patch.setattr(access, "TICKET_SEC", -1)
        assert await Listener(f"ticket={ticket}", client=(ELSEWHERE, 1)).refusal() == 4401

    def of_a_session() -> str:
        caller = Caller()
        caller.client.force_login(make_user("vera", "Viewer"))
        return access._signer.sign(caller.client.session.session_key)

    assert await Listener(f"ticket={await in_thread(of_a_session)()}", client=(ELSEWHERE, 1)).refusal() == 4401


async def test_the_configured_key_gives_tickets_that_end_with_it(settings, monkeypatch):
    monkeypatch.setattr("tasks_app.feed.access.RECHECK_SEC", 0.3)
    settings.ABSURD_API_KEY = "a-configured-key"
    ticket = (await in_thread(Caller("a-configured-key").post)("feed/ticket")).body["ticket"]
    listener = Listener(f"ticket={ticket}", client=(ELSEWHERE, 1))
    await listener.open()
    settings.ABSURD_API_KEY = "another-key"
    assert (await listener.communicator.receive_output(60))["code"] == 4401
    await listener.close()
