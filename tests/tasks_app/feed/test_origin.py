"""From which pages a socket may be opened, asked of a real web process."""

from __future__ import annotations

import http.client

import pytest
from django.conf import settings
from django.test import Client
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tasks_app.feed.access import NOT_LOGGED_IN
from tests.daphne_server import serving
from tests.tasks_app.callers import make_key, make_user

pytestmark = pytest.mark.django_db(transaction=True)


def log_in() -> str:
    client = Client()
    client.force_login(make_user("vera", "Viewer"))
    return client.cookies["sessionid"].value


def status_of(port: int, headers: dict[str, str]) -> int:
    """Ask for a socket and return the status of the answer; 101 opens it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("GET", "/ws/status", skip_host=True)
    asked = {"Host": f"127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade"}
    asked |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    for name, value in {**asked, **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def test_no_page_but_our_own_may_open_a_socket_whoever_it_claims_to_be(live_environment):
    shown = {
        "local reader": {},
        "session": {"Cookie": f"sessionid={log_in()}"},
        "key": {"X-API-Key": make_key("read")},
    }
    with serving(live_environment) as port:
        strangers = (
            "https://evil.example.org",
            f"http://127.0.0.1:{port + 1}",
            "http://127.0.0.1",
            f"http://127.0.0.1:{port}.evil.example.org",
            f"http://127.0.0.1.evil.example.org:{port}",
            f"http://evil@127.0.0.1:{port}",
            f"ws://127.0.0.1:{port}",
            "file://",
            "null",
            "",
        )
        for name, headers in shown.items():
            for origin in strangers:
                assert status_of(port, {**headers, "Origin": origin}) in (400, 403), (name, origin)
            for own in ({}, {"Origin": f"http://127.0.0.1:{port}"}):
                assert status_of(port, {**headers, **own}) == 101, (name, own)


def test_a_page_of_a_named_origin_shows_a_key_or_a_ticket_and_its_cookies_do_not_count(live_environment):
    front = "https://front.example.org"
    named = {"ABSURD_ALLOWED_ORIGINS": front, "SECRET_KEY": settings.SECRET_KEY}
    cookie, key = {"Cookie": f"sessionid={log_in()}"}, make_key("read")
    with serving({**live_environment, **named}) as port:
        forwarded = {"Origin": front, "X-Forwarded-For": "192.0.2.9"}  # no local reader
        assert socket_code(port, {**forwarded, **cookie}) == NOT_LOGGED_IN
        assert socket_code(port, {**forwarded, "Authorization": f"Bearer {key}"}) is None
        assert socket_code(port, {"X-Forwarded-For": "192.0.2.9", **cookie}) is None
        assert status_of(port, {"Origin": "https://evil.example.org", "X-API-Key": key}) == 403


def socket_code(port: int, headers: dict[str, str]) -> int | None:
    """Return the code that a socket is closed with, or None when it says hello."""
    origin = headers.pop("Origin", None)
    with connect(f"ws://127.0.0.1:{port}/ws/status", additional_headers=headers, origin=origin) as opened:
        try:
            assert "hello" in opened.recv(60)
        except ConnectionClosed as closed:
            return closed.rcvd.code
    return None


def test_a_name_that_is_not_ours_is_refused_as_by_the_api(live_environment):
    with serving(live_environment) as port:
        for host in (f"evil.example.org:{port}", f"127.0.0.1:{port},evil.example.org", "127.0.0.1@evil.example.org"):
            for origin in ({}, {"Origin": f"http://{host}"}):
                assert status_of(port, {"Host": host, **origin}) in (400, 403), (host, origin)
