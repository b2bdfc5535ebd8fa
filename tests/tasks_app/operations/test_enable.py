"""Enabled and disabled is a state of the system, whatever the environment of the process that asks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from django.core.management import call_command

from tasks_app.engine import system_state
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import AttemptReport
from tasks_app.errors import Disabled, ParamsInvalid
from tasks_app.models import SystemState, Task, TaskEvent
from tasks_app.monitoring import health
from tasks_app.operations.system import disable, enable
from tests.daphne_server import CHECKOUT
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.notes import claim_one, make_worker, spawn_note


def shell(environment: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *argv], cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_second_shell_without_the_variable_sees_the_system_enabled(live_environment):
    make_worker(heartbeat_sec=3600)
    second = {name: value for name, value in live_environment.items() if name != "ABSURD_ENABLED"}
    assert json.loads(shell(second, "absurd_health", "--json").stdout)["status"] == "disabled"
    system_state.initialise(enabled=True)
    assert json.loads(shell(second, "absurd_health", "--json").stdout)["status"] == "healthy"
    spawned = shell(second, "absurd_spawn", "echo", "value=hello")
    assert (spawned.returncode, Task.objects.count()) == (0, 1), spawned.stderr


def test_a_disabled_system_is_disabled_for_a_shell_that_has_the_variable(live_environment):
    make_worker(heartbeat_sec=3600)
    system_state.initialise(enabled=True)
    assert shell(live_environment, "absurd_disable", "--reason", "storm", "--yes").returncode == 0
    found = shell(live_environment, "absurd_health")
    assert (found.returncode, "(storm): run manage.py absurd_enable" in found.stdout) == (5, True), found.stdout
    refused = shell(live_environment, "absurd_spawn", "echo", "value=hello")
    assert (refused.returncode, "(storm)" in refused.stderr) == (75, True), refused
    assert shell(live_environment, "absurd_enable").returncode == 0
    assert shell(live_environment, "absurd_spawn", "echo", "value=hello").returncode == 0


@pytest.mark.django_db
def test_disabled_nothing_is_claimed_and_what_runs_goes_on(worker):
    spawn_note(), spawn_note()
    running = claim_one(worker)
    disable(actor="user:ann", reason="storm")
    assert claim_tasks(worker, limit=1) == []
    with pytest.raises(Disabled, match=r"disabled by user:ann since .* \(storm\): run manage.py absurd_enable"):
        spawn_note()
    complete_task(running, {}, AttemptReport())
    assert Task.objects.filter(status="completed").count() == 1
    enable(actor="user:ann")
    assert len(claim_tasks(worker, limit=1)) == 1
    assert list(TaskEvent.objects.filter(task_id=None).values_list("event_type", "actor", "reason")) == [
        ("disabled", "user:ann", "storm"),
        ("enabled", "user:ann", ""),
    ]


@pytest.mark.django_db
def test_the_variable_enables_only_a_system_that_has_no_state_yet():
    disable(actor="user:ann", reason="storm")
    system_state.initialise(enabled=True)
    assert not system_state.is_enabled()
    SystemState.objects.all().delete()
    system_state.initialise(enabled=False)
    assert system_state.current() is None


@pytest.mark.django_db
def test_disabling_needs_a_reason_and_repeating_it_changes_nothing():
    with pytest.raises(ParamsInvalid):
        disable(actor="user:ann", reason=" ")
    disable(actor="user:ann", reason="storm")
    assert disable(actor="user:bob", reason="later").changed_by == "user:ann"


@pytest.mark.django_db
def test_the_api_answers_503_with_the_remedy_and_health_gives_who_and_why(worker):
    disable(actor="user:ann", reason="storm")
    api = Caller(make_key("read", "spawn"))
    refused = api.post("tasks", {"task_name": "note", "params": {"text": "x"}})
    assert (refused.status_code, refused.body["code"]) == (503, "disabled")
    assert "absurd_enable" in refused.body["detail"]
    found = api.get("health")
    assert (found.status_code, found.body["status"]) == (503, "disabled")
    assert "user:ann" in found.body["message"] and "storm" in found.body["message"]
    assert health.examine().status == "disabled"


@pytest.mark.django_db
def test_the_setup_stores_the_initial_state(settings, tmp_path):
    settings.ABSURD_VAR = tmp_path
    settings.ABSURD_ENABLED = True
    call_command("absurd_setup")
    assert SystemState.objects.get().changed_by == "ABSURD_ENABLED"
