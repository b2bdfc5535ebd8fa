"""The emergency stop from the shell."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command

from tasks_app.engine.claim import claim_tasks
from tasks_app.errors import ParamsInvalid
from tasks_app.models import TaskEvent
from tasks_app.operations.queues import pause
from tasks_app.operations.system import current_freeze
from tasks_app.operations.system import freeze as freeze_all
from tests.tasks_app.notes import claim_one, spawn_note

pytestmark = pytest.mark.django_db


def output_of(*arguments: str) -> str:
    output = io.StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def code_of(*arguments: str) -> int:
    with pytest.raises(CommandError) as caught:
        output_of(*arguments)
    return caught.value.returncode


def test_freezing_stops_claims_until_thawed(worker):
    spawn_note(), spawn_note()
    claim_one(worker)
    assert "claimed tasks continue" in output_of("absurd_freeze", "--reason", "disk is full", "--yes")
    assert claim_tasks(worker, limit=1) == []
    event = TaskEvent.objects.get(event_type="frozen")
    assert event.reason == "disk is full" and event.actor.startswith("cli:")
    assert "disk is full" in output_of("absurd_thaw", "--reason", "cleaned up")
    assert TaskEvent.objects.get(event_type="thawed").reason == "cleaned up"
    assert len(claim_tasks(worker, limit=1)) == 1


def test_both_write_json():
    made = json.loads(output_of("absurd_freeze", "--reason", "disk is full", "--yes", "--json"))
    assert made["reason"] == "disk is full" and made["frozen_at"].endswith("Z")
    assert json.loads(output_of("absurd_thaw", "--json"))["frozen_at"] == made["frozen_at"]


def test_freezing_twice_and_thawing_for_nothing_are_illegal_states():
    assert code_of("absurd_thaw") == 4
    output_of("absurd_freeze", "--reason", "disk is full", "--yes")
    assert code_of("absurd_freeze", "--reason", "me too", "--yes") == 4


def test_it_asks_first_and_needs_somebody_to_answer(monkeypatch):
    class Nobody(io.StringIO):
        def isatty(self) -> bool:
            return False

    monkeypatch.setattr("sys.stdin", Nobody())
    assert code_of("absurd_freeze", "--reason", "disk is full") == 2
    assert current_freeze() is None


@pytest.mark.parametrize(
    "operation", [lambda: freeze_all(actor="a", reason=" "), lambda: pause("q", actor="a", reason="")]
)
def test_nobody_stops_others_without_a_reason(operation):
    with pytest.raises(ParamsInvalid, match="reason"):
        operation()
    assert code_of("absurd_freeze", "--reason", " ", "--yes") == 2
    assert current_freeze() is None
