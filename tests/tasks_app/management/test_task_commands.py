"""Tasks from the shell: list, show, logs, explain, and the operations that change them."""

from __future__ import annotations

import io
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.lease import start_attempt
from tasks_app.models import Attempt, Task, TaskEvent
from tasks_app.postgresql import clock
from tasks_app.testing import make_task, make_worker
from tests.tasks_app.management.commands import json_of, output_of, refused, run
from tests.tasks_app.notes import REPORT, claim_one, event_types, spawn_note

pytestmark = pytest.mark.django_db


class Terminal(io.StringIO):
    """A standard input at which somebody sits and types."""

    def isatty(self) -> bool:
        return True


def types(monkeypatch: pytest.MonkeyPatch, text: str) -> list[str]:
    """Have somebody answer questions; return the list that the questions will be in."""
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or text)
    return asked


def failed_note(**options: object) -> Task:
    return make_task("note", {"text": "a"}, status="failed", **options)


def test_list_has_a_line_a_task_newest_first():
    first, second = spawn_note(priority=7), failed_note(error="no such file\nmore")
    heading, newest, oldest = output_of("absurd_tasks", "list").splitlines()
    assert heading.split()[:4] == ["TASK", "STATUS", "NAME", "QUEUE"]
    assert newest.startswith(f"{second.task_id}  failed") and newest.endswith("no such file")
    assert oldest.startswith(f"{first.task_id}  pending") and "Z" in oldest


def test_list_takes_the_apis_conditions_and_refuses_by_the_options_name(worker):
    spawn_note(queue_name="other"), spawn_note(), failed_note()
    claim_one(worker)

    def ids(*options: str) -> int:
        return len(json_of("absurd_tasks", "list", *options)["tasks"])

    assert ids() == 3
    assert ids("--status", "failed") == 1
    assert ids("--status", "failed,claimed") == ids("--status", "failed", "--status", "claimed") == 2
    assert ids("--queue", "other") == 1
    assert ids("--worker", "worker-1", "--status", "claimed") == 1
    assert ids("--name", "imaging") == 0
    assert ids("--created-after", "1h") == 3
    assert ids("--created-before", "1h") == 0
    assert ids("--completed-after", "2025-11-18T10:30") == 1
    assert json_of("absurd_tasks", "list", "--limit", "2")["more"] is True
    assert output_of("absurd_tasks", "list", "--name", "imaging") == "no matching task\n"
    code, message = refused("absurd_tasks", "list", "--status", "running")
    assert (code, "--status" in message) == (2, True)
    assert refused("absurd_tasks", "list", "--run", "00000000")[0] == 3


def test_show_shows_facts_attempts_and_events(worker):
    task = spawn_note()
    fail_attempt(claim_one(worker), "error", "first try\nat line 3", REPORT)
    text = output_of("absurd_tasks", "show", str(task.task_id)[-8:])
    assert text.startswith(f"note {task.task_id}\n")
    for part in ("status      retrying", '{"text": "hello"}', "1  error", "worker-1@test", "spawned", "user:test"):
        assert part in text, part
    body = json_of("absurd_tasks", "show", task.task_id)
    assert (body["task"]["task_id"], len(body["attempts"])) == (str(task.task_id), 1)
    assert [event["event_type"] for event in body["events"]] == event_types(task)


def test_control_characters_of_an_error_do_not_reach_the_terminal():
    failed_note(error="\x1b[31mred")
    assert "\x1b" not in output_of("absurd_tasks", "list")


def test_explain_shows_the_same_as_absurd_explain():
    task = spawn_note()
    assert (
        output_of("absurd_tasks", "explain", task.task_id).splitlines()[1:]
        == (output_of("absurd_explain", str(task.task_id)[:12]).splitlines()[1:])
    )
    assert json_of("absurd_tasks", "explain", task.task_id)["task_id"] == str(task.task_id)


def test_a_task_that_never_was_is_exit_code_3_for_every_action():
    for action in ("show", "logs", "explain"):
        assert refused("absurd_tasks", action, uuid4())[0] == 3
        assert refused("absurd_tasks", action, "nonsense")[0] == 3
    for command in ("absurd_cancel", "absurd_retry", "absurd_requeue"):
        assert refused(command, uuid4())[0] == 3


def test_logs_come_from_the_file_or_else_from_the_database(worker, tmp_path, settings, capsys):
    task = spawn_note()
    claim = claim_one(worker)
    settings.ABSURD_VAR = tmp_path
    log = tmp_path / "log" / "attempts" / str(task.task_id) / "1.log"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {n}\n" for n in range(1, 1001)))
    start_attempt(claim, directory="", log_path=str(log))
    assert output_of("absurd_tasks", "logs", task.task_id, "--lines", 2) == "line 999\nline 1000\n"
    Attempt.objects.update(log_path="/nowhere/1.log", log_tail="the tail")
    assert output_of("absurd_tasks", "logs", task.task_id) == "the tail\n"
    assert "/nowhere/1.log cannot be read: " in capsys.readouterr().err
    assert refused("absurd_tasks", "logs", task.task_id, "--attempt", 2)[0] == 3
    assert refused("absurd_tasks", "logs", spawn_note().task_id)[0] == 3


def test_first_digits_that_several_tasks_share_are_refused():
    for n in range(2):
        spawn_note(task_id=UUID(f"aaaabbbb-0000-4000-8000-00000000000{n}"))
    assert refused("absurd_tasks", "show", "aaaab")[0] == 2


def test_cancel_by_id_is_done_at_once_and_shows_who_and_why(worker):
    waiting, running = spawn_note(), spawn_note(priority=20)
    claim_one(worker)
    assert output_of("absurd_cancel", waiting.task_id, running.task_id, "--reason", "wrong field") == (
        "1 cancelled, 1 asked to stop\n"
    )
    event = TaskEvent.objects.get(event_type="cancelled")
    assert event.reason == "wrong field" and event.actor.startswith("cli:")


def test_an_id_whose_status_forbids_it_is_exit_code_4_and_the_others_are_done():
    done, waiting = make_task("note", {"text": "a"}, status="completed"), spawn_note()
    assert refused("absurd_cancel", done.task_id)[0] == 4
    code, message = refused("absurd_cancel", done.task_id, waiting.task_id, "--json")
    assert (code, message) == (4, "1 task refused")
    waiting.refresh_from_db()
    assert waiting.status == "cancelled"


def test_a_dry_run_by_id_checks_all_and_changes_nothing():
    task, done = failed_note(), make_task("note", {"text": "a"}, status="completed")
    events = TaskEvent.objects.count()
    assert output_of("absurd_retry", task.task_id, "--dry-run") == (
        "1 returned to the queue (dry run: nothing was done)\n"
    )
    assert refused("absurd_retry", done.task_id, "--dry-run")[0] == 4
    task.refresh_from_db()
    assert (task.status, TaskEvent.objects.count()) == ("failed", events)


def test_by_conditions_it_previews_asks_and_does(monkeypatch):
    spawn_note(), spawn_note(), spawn_note(queue_name="other")
    preview = json_of("absurd_cancel", "--queue", "other", "--dry-run")
    assert (preview["selected"], preview["by"][0]["queue_name"]) == (1, "other")
    asked = types(monkeypatch, "n")
    assert refused("absurd_cancel", "--queue", "dsa110-pipeline") == (1, "nothing was done")
    assert asked == ["Cancel 2 tasks? [y/N] "]
    types(monkeypatch, "y")
    assert output_of("absurd_cancel", "--queue", "dsa110-pipeline").endswith("2 cancelled\n")
    assert Task.objects.filter(status="pending").count() == 1


def test_above_a_hundred_the_number_must_be_typed(monkeypatch):
    for _ in range(101):
        spawn_note()
    asked = types(monkeypatch, "y")
    assert refused("absurd_cancel", "--all")[0] == 1
    assert asked == ["Cancel 101 tasks? Type 101 to continue: "]
    types(monkeypatch, "101")
    assert "101 cancelled" in output_of("absurd_cancel", "--all")


def test_without_a_terminal_conditions_need_yes(monkeypatch):
    spawn_note()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert refused("absurd_cancel", "--all")[0] == 2
    assert output_of("absurd_cancel", "--all", "--yes") == "1 cancelled\n"
    assert output_of("absurd_cancel", "--all", "--yes") == "no matching task\n"


def test_ids_and_conditions_exclude_each_other_and_one_is_needed():
    task = spawn_note()
    assert refused("absurd_cancel")[0] == 2
    assert refused("absurd_cancel", task.task_id, "--queue", "other")[0] == 2


def test_retry_chooses_failed_tasks_and_cancelled_ones_only_when_named():
    failed, cancelled = failed_note(), make_task("note", {"text": "a"}, status="cancelled")
    assert json_of("absurd_retry", "--all", "--yes")["done"] == 1
    failed.refresh_from_db()
    assert (failed.status, failed.retry_count) == ("pending", 0)
    assert json_of("absurd_retry", "--status", "cancelled", "--yes")["done"] == 1
    cancelled.refresh_from_db()
    assert cancelled.status == "pending"


def test_reprioritize_gives_each_its_new_priority():
    task = spawn_note()
    assert output_of("absurd_reprioritize", task.task_id, "--priority", 15) == "1 given priority 15\n"
    assert json_of("absurd_reprioritize", "--priority-min", 15, "--priority", 3, "--yes")["counts"] == {
        "given priority 3": 1
    }
    task.refresh_from_db()
    assert task.priority == 3


def test_requeue_chooses_claims_that_are_stalled_or_whose_worker_is_gone(worker):
    stalled, _, healthy = spawn_note(priority=20), spawn_note(priority=19), spawn_note(priority=18)
    claim_one(worker)
    gone = make_worker(label="gone")
    claim_one(gone)
    claim_one(worker)
    Task.objects.filter(pk=stalled.pk).update(lease_until=clock.now() - timedelta(seconds=1))
    gone.stopped_at = clock.now()
    gone.save()
    assert json_of("absurd_requeue", "--all", "--dry-run")["selected"] == 2
    assert refused("absurd_requeue", healthy.task_id)[0] == 4
    assert output_of("absurd_requeue", "--all", "--yes") == "2 returned to the queue\n"
    healthy.refresh_from_db()
    assert healthy.status == "claimed"
    assert json_of("absurd_requeue", "--all", "--force", "--yes", "--reason", "hung")["done"] == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["absurd_tasks"], "list|show"),
        (["absurd_tasks", "list", "--limit", "0"], "--limit"),
        (["absurd_tasks", "list", "--stat", "failed"], "--stat"),
        (["absurd_tasks", "list", "--created-after", "yesterday"], "--created-after"),
        (["absurd_reprioritize", "x"], "--priority"),
        (["absurd_reprioritize", "x", "--priority", "21"], "priority"),
    ],
    ids=["no action", "limit", "abbreviated", "moment", "no priority", "priority"],
)
def test_a_usage_error_is_one_line_and_exit_code_2(arguments, named, live_environment):
    done = run(live_environment, *arguments)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert named in done.stderr
