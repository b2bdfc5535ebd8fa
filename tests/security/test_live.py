"""A real web process: what its logs keep of secrets, who may open the feed, and what it answers to other sites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from tests import daphne_server
from tests.tasks_app.callers import make_key, make_user
from tests.tasks_app.feed.feed_clients import socket
from tests.tasks_app.listeners import in_thread

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "a secret of seven words"
CONFIGURED = "configured-secret-key"


def secrets_of() -> dict[str, str]:
    make_user("olga", "Operator")
    return {"read": make_key("read"), "spawn": make_key("spawn"), "none": make_key(), "configured": CONFIGURED}


async def test_the_logs_of_a_web_process_hold_no_secret(live_environment):
    keys = await in_thread(secrets_of)()
    environment = live_environment | {"ABSURD_API_KEY": CONFIGURED, "ABSURD_LOG_LEVEL": "DEBUG", "SECRET_KEY": "k" * 50}
    with daphne_server.serving(environment, options=("-v", "2", "--access-log", "-")) as port:
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, timeout=30) as client:
            for key in (*keys.values(), "wrong.secretsecretsecret"):
                await client.get("/api/absurd/tasks", headers={"X-API-Key": key})
                await client.post("/api/absurd/tasks", content=b"{", headers={"X-API-Key": key})
            ticket = (await client.post("/api/absurd/feed/ticket", headers={"X-API-Key": keys["read"]})).json()[
                "ticket"
            ]
            page = await client.get("/admin/login/")
            form = {"username": "olga", "password": PASSWORD, "csrfmiddlewaretoken": page.cookies["csrftoken"]}
            for _ in range(2):
                await client.post("/admin/login/", data=form, headers={"Referer": base})
            good = form | {"password": "correct horse battery"}
            answer = await client.post("/admin/login/", data=good, headers={"Referer": base})
            session = answer.cookies["sessionid"]
        async with socket(port, f"ticket={ticket}") as connection:
            await connection.first("hello")
        log = Path(environment["ABSURD_VAR"], "web.log")
        text = log.read_text(errors="replace")
    assert "/admin/login/" in text and "olga" in text
    for name, secret in {**keys, "ticket": ticket, "session": session, "password": PASSWORD, "own": "k" * 50}.items():
        assert secret not in text, f"{name} is in the log"
        if name in ("read", "spawn", "none"):
            assert secret.partition(".")[2] not in text, name
    assert "correct horse battery" not in text
    assert "secretsecretsecret" not in text


async def output(port: int, headers: dict[str, str], query: str = "") -> Any:
    """Return the first message, the code with which the socket is closed, or the status that it is refused with."""
    address = f"ws://127.0.0.1:{port}/ws/status{query}"
    try:
        async with websockets.connect(address, additional_headers=headers) as connection:
            try:
                return json.loads(await connection.recv())["type"]
            except websockets.ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else None
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


async def test_the_feed_is_for_readers_and_no_page_of_another_site(live_environment):
    keys = await in_thread(secrets_of)()
    forwarded = {"X-Forwarded-For": "192.0.2.7"}
    cases: list[tuple[dict[str, str], str, Any, int]] = [
        ({"X-API-Key": keys["read"]}, "", "hello", 200),
        ({"X-API-Key": keys["spawn"]}, "", 4403, 403),
        ({"X-API-Key": keys["none"]}, "", 4403, 403),
        ({"X-API-Key": "wrong.key"}, "", 4401, 401),
        ({}, "?ticket=nonsense", 4401, 401),
        ({}, "", "hello", 200),
        (forwarded, "", 4401, 401),
        ({**forwarded, "X-API-Key": keys["read"]}, "", "hello", 200),
    ]
    with daphne_server.serving(live_environment) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            for headers, query, of_socket, of_stream in cases:
                assert await output(port, headers, query) == of_socket, (headers, query)
                asked = {**headers, "Accept": "text/event-stream"}
                async with client.stream("GET", f"/api/absurd/feed{query}", headers=asked) as answer:
                    assert answer.status_code == of_stream, (headers, query)
            for origin in ("https://evil.example", "null", f"http://127.0.0.1:{port + 1}", f"http://localhost:{port}"):
                headers = {"X-API-Key": keys["read"], "Origin": origin}
                assert await output(port, headers) == 403, origin
                crossed = await client.get("/api/absurd/tasks", headers=headers)
                assert not [name for name in crossed.headers if name.startswith("access-control")], origin
            rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
            assert await output(port, rebound) in (400, 403)
            assert (await client.get("/api/absurd/tasks", headers={"Host": "evil.example"})).status_code == 400
            for name, value in {
                "content-security-policy": "default-src 'self'",
                "x-frame-options": "DENY",
                "x-content-type-options": "nosniff",
                "referrer-policy": "same-origin",
                "cross-origin-opener-policy": "same-origin",
            }.items():
                assert (await client.get("/admin/login/")).headers[name].startswith(value), name
