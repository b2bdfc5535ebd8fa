from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command

from tasks_app.models import TaskEvent
from tests.tasks_app.workflows.run_plans import begin, break_, claim_all, finish_all, linear, state

pytestmark = pytest.mark.django_db


def output(*arguments: str) -> str:
    out = io.StringIO()
    call_command("absurd_runs", *arguments, stdout=out)
    return out.getvalue()


def refused(*arguments: str) -> tuple[int, str]:
    with pytest.raises(CommandError) as caught:
        output(*arguments)
    return caught.value.returncode, str(caught.value)


def test_list_shows_state_progress_and_reason_of_each_run(worker):
    assert output("list") == "there are no runs\n"
    done = begin(linear())
    finish_all(worker)
    broken = begin(linear())
    break_(claim_all(worker)["convert"], "invalid", "no such file")
    first, second = output("list").splitlines()
    assert (
        first
        == f"{broken.run_id}  failed      0 of 3    linear tile  convert failed (invalid): no such file; 2 more failed"
    )
    assert second == f"{done.run_id}  completed   3 of 3    linear tile"
    assert output("list", "--workflow", "mosaic") == "there are no runs\n"
    assert [run["state"] for run in json.loads(output("list", "--json", "--limit", "1"))] == ["failed"]


def test_show_shows_each_task_and_why_it_waits(worker):
    run = begin(linear())
    text = output("show", str(run.run_id)[:8])
    assert "waiting     image" in text
    assert "waits for 1 of 1: convert (pending)" in text
    body = json.loads(output("show", str(run.run_id), "--json"))
    assert (len(body["nodes"]), len(body["edges"]), body["state"]) == (3, 2, "waiting")


def test_cancel_and_retry_do_what_the_dry_run_shows(worker):
    run = begin(linear())
    assert output("cancel", str(run.run_id), "--dry-run") == "linear tile: 3 cancelled (dry run: nothing was done)\n"
    assert state(run).cancelled == 0
    assert output("cancel", str(run.run_id), "--yes", "--reason", "wrong field") == "linear tile: 3 cancelled\n"
    event = TaskEvent.objects.get(event_type="run_cancelled")
    assert event.actor.startswith("cli:")
    assert event.reason == "wrong field"
    assert json.loads(output("retry", str(run.run_id), "--yes", "--json"))["done"][0]["counts"]["retried"] == 3
    finish_all(worker)
    assert "2 respawned" in output("retry", str(run.run_id), "--from-stage", "image", "--yes")


def test_without_a_terminal_it_wants_yes(worker, monkeypatch):
    run = begin(linear())
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    code, message = refused("cancel", str(run.run_id))
    assert (code, "--yes" in message) == (2, True)
    assert state(run).cancelled == 0


def test_exit_codes_tell_what_was_wrong(worker):
    run = begin(linear())
    assert refused("cancel")[0] == 2
    assert refused("show", "00000000-0000-0000-0000-000000000000")[0] == 3
    assert refused("show", "nonsense")[0] == 3
    assert refused("retry", str(run.run_id), "--yes") == (
        4,
        f"cannot retry run {run.run_id}: none of its tasks has failed or been cancelled; "
        "name a stage to run it again from there",
    )
    assert refused("retry", str(run.run_id), "--yes", "--from-stage", "imaging")[0] == 2


@pytest.mark.parametrize("arguments", [["destroy"], ["list", "--limit", "0"]], ids=["action", "limit"])
def test_a_usage_error_is_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        output(*arguments)
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
