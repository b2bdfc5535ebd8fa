"""People and programs that call the API in tests."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks_app.models import ApiKey
from tasks_app.monitoring import health

ROOT = "/api/absurd"
ELSEWHERE = "192.0.2.7"


def make_user(name: str, *groups: str) -> User:
    user = User.objects.create_user(name, password="correct horse battery")
    user.is_staff = True
    user.save()
    user.groups.set(Group.objects.filter(name__in=groups))
    return user


def make_key(*scopes: str, name: str = "ingest", **fields: Any) -> str:
    return ApiKey.objects.create_key(name=name, scopes=list(scopes), **fields)[1]


class Caller:
    """Calls the API and parses what comes back."""

    def __init__(self, key: str | None = None, address: str = ELSEWHERE, **headers: str) -> None:
        self.client = Client(raise_request_exception=False)
        self.headers = {**headers, **({"X-API-Key": key} if key else {})}
        self.address = address

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        content = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        response = self.client.generic(
            method,
            path if path.startswith("/") else f"{ROOT}/{path}",
            content or b"",
            content_type="application/json",
            headers={**self.headers, **headers},
            REMOTE_ADDR=self.address,
            HTTP_HOST=headers.pop("Host", "localhost"),
        )
        response.body = json.loads(response.content) if "json" in response.headers.get("Content-Type", "") else None
        return response

    def get(self, path: str, **headers: str) -> Any:
        return self("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self("POST", path, {} if body is None else body, **headers)

    def delete(self, path: str, body: Any = None, **headers: str) -> Any:
        return self("DELETE", path, body, **headers)


def log_in(name: str, *groups: str) -> Caller:
    """A person who is logged in, without the checks of CSRF."""
    caller = Caller()
    caller.client.force_login(make_user(name, *groups))
    return caller


def console_client(group: str = "Viewer") -> Client:
    """Return a client of the console that somebody of this group has logged in with."""
    client = Client()
    client.force_login(make_user(group.lower(), group))
    return client


def queries_of_health() -> int:
    """Return how many queries the header's look at health takes; outside a test's transaction a thread makes them."""
    with CaptureQueriesContext(connection) as captured:
        health.examine()
    return len(captured)
