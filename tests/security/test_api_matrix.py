"""Every operation of the API, by every kind of caller; what each needs is declared, and written again in needs.txt."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.security.routes import API, SAMPLES, operations, views
from tests.tasks_app.callers import ELSEWHERE, Caller, log_in, make_key

NEEDS = Path(__file__).with_name("needs.txt")
SCOPES = ("read", "spawn", "operate", "admin")
ROLES = {
    "Viewer": {"read"},
    "Operator": {"read", "spawn", "operate"},
    "Administrator": {"read", "spawn", "operate", "admin"},
}
OPEN = {"GET /api/absurd/health", "GET /api/absurd/health/"}
CALLERS = ["nobody", "this machine", "no scope", *SCOPES, "no group", *ROLES]


def test_only_health_is_open_to_all():
    assert {str(each) for each in operations() if each.need is None} == OPEN


def test_every_operation_needs_what_is_written_for_it():
    declared = {
        f"{each.method} /{each.route.removeprefix(API)} {each.need.scope if each.need else 'none'}"
        for each in operations()
        if not each.route.endswith("/")
    }
    written = set(NEEDS.read_text().splitlines()[1:])
    assert written == declared, sorted(declared ^ written)


def caller_of(kind: str) -> tuple[Caller, set[str]]:
    """Return such a caller and the scopes that it has."""
    if kind in ROLES:
        return log_in("someone", kind), ROLES[kind]
    if kind == "no group":
        return log_in("someone"), set()
    if kind in ("nobody", "this machine"):
        local = kind == "this machine"
        return Caller(address="127.0.0.1" if local else ELSEWHERE), {"read"} if local else set()
    scopes = [kind] if kind in SCOPES else []
    return Caller(make_key(*scopes)), set(scopes)


@pytest.mark.django_db
@pytest.mark.parametrize("kind", CALLERS)
def test_every_caller_is_let_in_where_its_scopes_say_and_nowhere_else(kind, settings):
    settings.ABSURD_THROTTLE = {}
    caller, scopes = caller_of(kind)
    refusal = 401 if kind in ("nobody", "this machine") else 403
    wrong = []
    for each in operations():
        body = None if each.method == "GET" else {}
        status = caller(each.method, each.path, body).status_code
        local_write = kind == "this machine" and each.method != "GET"
        may = each.need is None or (each.need.scope in scopes and not local_write)
        if (status in (401, 403)) is may or (not may and status != refusal) or status == 500:
            wrong.append((str(each), status))
    assert wrong == []


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_a_method_that_a_route_does_not_have_is_405_as_a_problem(method):
    api = Caller(make_key(*SCOPES))
    for route, view in views().items():
        if hasattr(view, method.lower()):
            continue
        path = "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda match: SAMPLES[match.group(1)], route)
        answer = api(method, path)
        assert answer.status_code == 405, (route, answer.status_code)
        assert answer.headers["Content-Type"] == "application/problem+json", route
        assert "GET" in answer.headers["Allow"] or "POST" in answer.headers["Allow"], route
