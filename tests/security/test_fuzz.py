"""Nasty values at every place of the API that takes one, by its own schema: answered in words, never with a 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest
from django.db import transaction
from drf_spectacular.generators import SchemaGenerator

from pipeline_app.models import Measurement
from tasks_app.models import Queue, Worker
from tasks_app.operations import queues, schedules
from tests.security.payloads import TEXTS
from tests.tasks_app.callers import ROOT, Caller, make_key
from tests.tasks_app.notes import claim_one, spawn_note

pytestmark = pytest.mark.django_db
METHODS = ("get", "post", "put", "patch", "delete")
NASTY_TEXTS = (
    *("", " ", "a\x00b", "a\r\nb", "\u2028", "é", "💥", "/", "..", "%", "%00", "\\", "x" * 5_000, "9" * 5_000),
    *("-1", "1e999", "NaN", "0x10", "१२", "[]", str(2**63), str(2**31), TEXTS["html"], TEXTS["control"]),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z"),
)
NASTY_VALUES = (
    *NASTY_TEXTS,
    *("\ud800", None, True, 0, -1, 2**31, 2**63, 10**400, -(10**400), 1e308, -1e308, 0.1, 1e-320),
    *([], {}, [None], {"a": None}, {"": ""}, ["\x00"], {"\x00": 1}, [10**400], ["x"] * 1_001),
)
QUERY_ONLY = ("\udcff",)
"""A byte that is no UTF-8, as the query carries it."""
SAMPLES: dict[str, Any] = {
    "task_name": "note",
    "params": {"text": "x"},
    "queue_name": "q",
    "workflow": "fuzz",
    "cron": "0 0 * * *",
    "reason": "fuzz",
    "scheduled_at": "9999-12-31T23:59:59Z",
    "verb": "cancel",
    "action": "cancel",
}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of the schema."""

    method: str
    path: str
    parameters: list[dict[str, Any]]
    body: dict[str, Any] | None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return found


def resolved(shape: dict[str, Any]) -> dict[str, Any]:
    """Return a shape with its reference followed."""
    for several in ("allOf", "oneOf", "anyOf"):
        if several in shape:
            shape = shape[several][0]
    if "$ref" in shape:
        return resolved(document()["components"]["schemas"][shape["$ref"].rsplit("/", 1)[1]])
    return shape


def operations() -> Iterator[Operation]:
    for path, methods in document()["paths"].items():
        for method in METHODS:
            if method in methods:
                body = methods[method].get("requestBody", {}).get("content", {}).get("application/json", {})
                yield Operation(
                    method=method.upper(),
                    path=path,
                    parameters=methods[method].get("parameters", []),
                    body=body.get("schema"),
                )


def sample(shape: dict[str, Any], name: str = "", *, every: bool) -> Any:
    """Return a value that fits a shape: with every field, or those that it needs."""
    shape = resolved(shape)
    if name in SAMPLES:
        return SAMPLES[name]
    if shape.get("enum"):
        return shape["enum"][0]
    kind = shape.get("type")
    if kind == "object":
        needed = set(shape.get("required", ()))
        fields = shape.get("properties", {})
        return {each: sample(inner, each, every=every) for each, inner in fields.items() if every or each in needed}
    if kind == "array":
        return [sample(shape.get("items", {}), every=every)]
    if kind == "string":
        return {"uuid": str(uuid4()), "date-time": "2026-11-30T00:00:00Z"}.get(shape.get("format", ""), "x")
    return {"integer": shape.get("minimum", 1), "number": shape.get("minimum", 1.0), "boolean": False}.get(kind, "x")


def spoilt(value: Any, shape: dict[str, Any]) -> Iterator[Any]:
    """Yield copies of a value, each with one nasty value in one of its places."""
    if isinstance(value, dict):
        fields = resolved(shape).get("properties", {})
        for name, inner in value.items():
            bad_ones = chain(NASTY_VALUES, spoilt(inner, fields.get(name, {})))
            yield from ({**value, name: bad} for bad in bad_ones)
    elif isinstance(value, list):
        bad_ones = chain(NASTY_VALUES, spoilt(value[0], resolved(shape).get("items", {})))
        yield from ([bad] for bad in bad_ones)


@pytest.fixture
def known(worker: Worker) -> dict[str, str]:
    """Rows that the paths lead to, beside sources with nasty names."""
    task = spawn_note()
    claim_one(worker)
    Queue.objects.get_or_create(name="q")
    schedules.save("daily", cron="0 0 * * *", task_name="note", params={"text": "x"}, actor="user:test")
    queues.set_limit("key", "host", size=2, actor="user:test")
    for name in NASTY_TEXTS:
        if "\x00" not in name and 0 < len(name) <= 200:
            Measurement.objects.create(
                task_id=uuid4(), image_path="/i", name=name, mid_mjd=6e4, ra_deg=1, dec_deg=1, freq_hz=1,
                flux_jy=1, flux_err_jy=1, snr=1, local_rms_jy=1, primary_beam=1,
            )  # fmt: skip
    return {
        "task_id": str(task.task_id),
        "worker_id": str(worker.pk),
        "queue_name": "q",
        "task_name": "note",
        "name": "daily",
        "scope": "key",
        "number": "1",
    }


def address(operation: Operation, values: dict[str, str]) -> str:
    path = operation.path
    for each in operation.parameters:
        if each["in"] == "path":
            text = values.get(each["name"], "1")
            path = path.replace(f"{{{each['name']}}}", quote(text, safe="", errors="surrogateescape"))
    return path


@pytest.fixture
def ask(settings: Any) -> Any:
    settings.ABSURD_THROTTLE = {}
    caller = Caller(make_key("read", "spawn", "operate", "admin"))

    def send(operation: Operation, path: str, body: Any = None, **headers: str) -> str:
        """Return what is wrong with the answer; nothing when it is right."""
        with transaction.atomic():
            answer = caller(operation.method, path, body, **headers)
            transaction.set_rollback(True)
        asked = f"{operation} {path[:200]!r} {str(body)[:200]!r} {headers}"
        if answer.status_code >= 500:
            return f"{asked}: {answer.status_code} {answer.content[:300]!r}"
        if answer.status_code >= 400 and not (answer.body and answer.body["detail"]):
            return f"{asked}: {answer.status_code} without a detail"
        return ""

    return send


@pytest.mark.parametrize("operation", [each for each in operations() if not each.path.endswith("/feed")], ids=str)
def test_no_nasty_value_is_answered_with_a_server_error(operation: Operation, known: dict[str, str], ask: Any) -> None:
    faults = []
    path = address(operation, known)
    least = sample(operation.body, every=False) if operation.body else None
    for each in operation.parameters:
        for bad in (*NASTY_TEXTS, *QUERY_ONLY):
            if each["in"] == "query":
                query = urlencode({each["name"]: bad}, errors="surrogateescape")
                faults.append(ask(operation, f"{path}?{query}", least))
            elif each["in"] == "path":
                faults.append(ask(operation, address(operation, known | {each["name"]: bad}), least))
            elif bad.isascii() and bad.isprintable():
                faults.append(ask(operation, path, least, **{each["name"]: bad}))
    if operation.body:
        bodies = spoilt(sample(operation.body, every=True), operation.body)
        faults += [ask(operation, path, bad) for bad in chain(NASTY_VALUES, [least], bodies)]
    faults = [fault for fault in faults if fault]
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:40])


def test_the_walk_reaches_every_operation() -> None:
    assert {"PUT", "PATCH", "DELETE", "POST", "GET"} == {each.method for each in operations()}
    assert all(each.path.startswith(f"{ROOT}/") for each in operations())


@pytest.mark.parametrize(
    ("method", "path", "extra"),
    [
        ("get", "/admin/tasks_app/task/?q=%00", {}),
        ("get", "/admin/tasks_app/task/?task_name__exact=a%00b", {}),
        ("get", "/admin/tasks_app/queue/a%00b/change/", {}),
        ("post", "/admin/login/", {"data": {"username": "a\x00b", "password": "x"}}),
        ("get", "/admin/", {"HTTP_COOKIE": 'sessionid="a\\000b"'}),
    ],
)
def test_a_nul_is_refused_by_the_pages_as_well(
    admin_client: Any, method: str, path: str, extra: dict[str, Any]
) -> None:
    admin_client.raise_request_exception = False
    assert getattr(admin_client, method)(path, **extra).status_code == 400
