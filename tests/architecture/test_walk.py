"""How many modules of ours a spawn over HTTP walks through: what its reader has to open."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from tasks_app.testing import registered
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.notes import NOTE

OURS = ("tasks_app", "workers", "pipeline_app", "absurd_project")
OF_A_SPAWN_MOST = 10
OF_EVERY_REQUEST_MOST = 8
"""The middleware, and who asks: key, rate, permission, address."""
VIEW = ("tasks_app.api.views.tasks", "post")
BODY = {
    "task_name": "note", "queue_name": "dsa110-pipeline", "params": {"text": "a"}, "priority": 7, "timeout_sec": 60,
    "max_retries": 1,
}  # fmt: skip


@contextmanager
def walked(inside: set[str], outside: set[str]) -> Iterator[None]:
    """Collect the modules of ours in which a function runs in this thread, in the view that spawns and outside it."""
    found = outside

    def note(frame: FrameType, event: str, _: Any) -> None:
        nonlocal found
        name = str(frame.f_globals.get("__name__", ""))
        if (name, frame.f_code.co_name) == VIEW:
            found = inside if event == "call" else outside
        if event == "call" and name.partition(".")[0] in OURS:
            found.add(name)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


@pytest.mark.django_db(transaction=True)
def test_a_spawn_walks_through_ten_modules_and_what_every_request_passes():
    inside: set[str] = set()
    outside: set[str] = set()
    api = Caller(make_key("spawn"))
    with registered(NOTE):
        api.post("tasks", BODY)  # what is worked out once a process
        with walked(inside, outside):
            answer = api.post("tasks", BODY)
    assert answer.status_code == 201
    assert VIEW[0] in inside
    assert len(inside) <= OF_A_SPAWN_MOST, "\n".join(sorted(inside))
    assert len(outside - inside) <= OF_EVERY_REQUEST_MOST, "\n".join(sorted(outside - inside))
