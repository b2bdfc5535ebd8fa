"""What the list of tasks finds, refuses and counts, and what is done to all that match its filters."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks_app.admin import matching, reading
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.spawn import NewTask, spawn
from tasks_app.models import Task, TaskEvent, Worker
from tasks_app.operations import bulk
from tests.tasks_app.admin.test_pages import log_in
from tests.tasks_app.callers import queries_of_health
from tests.tasks_app.notes import REPORT, claim_one, spawn_note
from tests.tasks_app.test_claim_cost import fill

pytestmark = pytest.mark.django_db
LIST = "/admin/tasks_app/task/"
CANCEL, RETRY, REPRIORITIZE = (f"{LIST}matching/{name}/" for name in ("cancel", "retry", "reprioritize"))


def failed_note(worker: Worker, error: str) -> Task:
    task = spawn_note(priority=20)
    fail_attempt(claim_one(worker), "invalid", error, REPORT)
    return task


def shown(client: Client, **query: str) -> set[str]:
    """Return the ids of the tasks in the list."""
    answer = client.get(LIST, query)
    assert answer.status_code == 200
    return set(re.findall('data-task="([^"]+)"', answer.content.decode()))


def test_a_task_is_found_by_words_of_its_error(worker):
    wanted = failed_note(worker, "SEVERE: no solutions for antenna 17 in /data/tile.ms\nTraceback about disks")
    failed_note(worker, "no such file")
    client = log_in("Viewer")
    for text in ("solutions", "SOLUT", "antenna 17", "tile.ms", "no solutions for", "  severe "):
        assert shown(client, q=text) == {str(wanted.task_id)}, text
    assert len(shown(client, q="no")) == 2  # the beginning of the name of both: note
    assert shown(client, q="such solutions") == shown(client, q="disks") == shown(client, q="§§") == set()
    assert shown(client, q="antenna", status="pending") == set()


def explained(client: Client, marker: str, **query: str) -> str:
    """Return the plan of the list's statement that contains the marker."""
    with CaptureQueriesContext(connection) as found:
        client.get(LIST, query)
    (statement,) = [each["sql"] for each in found if marker in each["sql"] and "LIMIT 50" in each["sql"]] or [
        [each["sql"] for each in found if marker in each["sql"]][-1]
    ]
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + statement.replace("%", "%%"), [])
        return "\n".join(line for (line,) in cursor.fetchall())


def test_words_of_errors_and_tasks_of_a_person_are_found_by_an_index(worker):
    failed_note(worker, "no solutions for antenna 17")
    spawn(NewTask.of(task_name="note", params={"text": "x"}), actor="user:someone")
    fill(n=50_000, status="completed", completed_at="2026-01-01T00:00Z")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_app_task")
    client = log_in("Viewer")
    assert "task_error_words" in explained(client, "to_tsquery", q="antenna")
    assert "task_of_person" in explained(client, "user:someone", created_by="user:someone")


def test_mine_are_all_that_i_spawned_however_long_ago():
    mine = spawn(NewTask.of(task_name="note", params={"text": "x"}), actor="user:someone")
    fill(n=10_001)
    client = log_in("Viewer")
    assert shown(client, created_by="user:someone") == {str(mine.task_id)}


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ({"status": "stuck"}, "There is no status"),
        ({"queue": "others"}, "There is no queue"),
        ({"task_name": "notes"}, "There is no task name"),
        ({"band": "urgent"}, "There is no priority"),
        ({"since": "1y"}, "There is no created"),
        ({"created_by": "user:olga"}, "There is no spawned by"),
        ({"created_by": "key:ingest"}, "There is no spawned by"),
    ],
)
def test_a_value_that_there_is_not_is_refused_and_not_taken_for_an_empty_list(query, refusal):
    spawn_note()
    client = log_in("Operator")
    answer = client.get(LIST, query)
    text = answer.content.decode()
    assert answer.status_code == 400
    assert f'<p class="errornote">{refusal}' in text
    assert "data-task=" not in text and "0 tasks" not in text and "No task matches" not in text
    assert client.get(CANCEL, query)["Location"].startswith(LIST)


@pytest.mark.parametrize(
    "address",
    [
        "archivedtask/?finished=1d",
        "archivedtask/?status=pending",
        "taskevent/?by=olga",
        "taskevent/?from=yesterday",
    ],
)
def test_other_lists_refuse_unknown_values_too(address):
    assert log_in("Viewer").get(f"/admin/tasks_app/{address}").status_code == 400


def test_task_names_to_choose_are_those_that_occur_and_the_one_chosen():
    spawn_note()
    client = log_in("Viewer")
    text = client.get(LIST).content.decode()
    assert '<option value="note">' in text and '<option value="gather">' not in text
    chosen = client.get(LIST, {"task_name": "gather"})
    assert chosen.status_code == 200 and '<option value="gather" selected>' in chosen.content.decode()


def test_a_count_that_is_bounded_says_so(monkeypatch):
    monkeypatch.setattr(reading, "COUNT_MOST", 3)
    monkeypatch.setattr("tasks_app.templatetags.console.COUNT_MOST", 3)
    for _ in range(4):
        spawn_note()
    text = log_in("Operator").get(LIST).content.decode()
    assert "3+ tasks" in " ".join(text.split())
    assert "3+ match" in text and "Select all 3" not in text


def begin(client: Client, address: str, query: str = "", **fields: str) -> Any:
    return client.post(f"{address}?{query}", {"confirmed": "yes", "reason": "full disk", **fields})


def test_all_that_match_the_filter_are_counted_then_cancelled_and_no_others(worker):
    for _ in range(3):
        spawn_note()
    spawn_note(queue_name="other")
    failed_note(worker, "no such file")
    client = log_in("Operator")
    link = f'href="{CANCEL}?queue=dsa110-pipeline"'
    assert link in client.get(LIST, {"queue": "dsa110-pipeline", "p": "1"}).content.decode()
    with CaptureQueriesContext(connection) as found:
        text = client.get(f"{CANCEL}?queue=dsa110-pipeline").content.decode()
    assert len(found) <= 15 + queries_of_health()
    assert "Cancel 3 tasks that match?" in text and "queue = dsa110-pipeline" in text
    assert "Left as they are: 1 failed" in text
    answer = begin(client, CANCEL, "queue=dsa110-pipeline", expected="3")
    assert answer["Location"] == f"{LIST}?queue=dsa110-pipeline"
    assert Task.objects.filter(status="cancelled").count() == 3
    assert TaskEvent.objects.filter(event_type="cancelled", actor="user:someone", reason="full disk").count() == 3
    assert LogEntry.objects.filter(change_message="Cancel: cancelled. Reason: full disk").count() == 3
    assert Task.objects.get(queue_id="other").status == "pending"


def test_the_kinds_of_many_tasks_are_counted_among_some_and_the_page_says_so(monkeypatch):
    monkeypatch.setattr(reading, "COUNT_MOST", 3)
    for _ in range(4):
        spawn_note()
    text = log_in("Operator").get(CANCEL).content.decode()
    assert "Cancel 4 tasks that match?" in text and "The table is of 3 of them." in text
    assert '<td class="number">3</td>' in text


def test_big_numbers_of_tasks_are_written_alike_wherever_they_stand(monkeypatch):
    monkeypatch.setattr(matching, "SLICE_SEC", 0.0)
    monkeypatch.setattr(bulk, "CHUNK", 1000)
    spawn_note()
    fill(n=1499)
    client = log_in("Operator")
    text = client.get(CANCEL).content.decode()
    assert "Cancel 1,500 tasks that match?" in text and '<td class="number">1,500</td>' in text
    text = begin(client, CANCEL, expected="1500", typed="1500").content.decode()
    assert "Cancel: 1,000 of 1,500" in text and "<li>1,000 cancelled</li>" in text


def test_selecting_all_in_the_list_leads_to_the_page_of_all_that_match():
    task = spawn_note()
    chosen = {"action": "cancel_tasks", "_selected_action": [task.pk], "index": "0", "select_across": "1"}
    answer = log_in("Operator").post(f"{LIST}?status=pending", chosen)
    assert answer["Location"] == f"{CANCEL}?status=pending"


def test_a_selection_that_has_grown_is_shown_again_and_a_reason_is_needed():
    for _ in range(3):
        spawn_note()
    client = log_in("Operator")
    assert "2 were shown, 3 match now" in begin(client, CANCEL, expected="2").content.decode()
    assert "This field is required" in begin(client, CANCEL, expected="3", reason="").content.decode()
    assert not Task.objects.filter(status="cancelled").exists()


def test_more_than_a_hundred_need_the_number_typed():
    spawn_note()
    fill(n=100)
    client = log_in("Operator")
    assert "Type the number of tasks, 101" in begin(client, CANCEL, expected="101").content.decode()
    assert begin(client, CANCEL, expected="101", typed="101").status_code == 302
    assert Task.objects.filter(status="cancelled").count() == 101


@pytest.mark.parametrize(
    ("address", "fields"), [(CANCEL, {}), (REPRIORITIZE, {"priority": "18"})], ids=["cancel", "reprioritize"]
)
def test_a_big_selection_is_done_in_parts_with_its_progress(address, fields, monkeypatch):
    monkeypatch.setattr(matching, "SLICE_SEC", 0.0)
    monkeypatch.setattr(bulk, "CHUNK", 2)
    for _ in range(5):
        spawn_note()
    client = log_in("Operator")
    answer = begin(client, address, expected="5", **fields)
    late = spawn_note()
    seen = []
    while answer.status_code == 200:
        progress = answer.context["progress"]
        seen.append((progress.done, sum(progress.outcomes.values())))
        assert f"{progress.done} of 5" in answer.content.decode()
        answer = client.post(f"{address}?", {"progress": progress.token})
    assert seen == [(2, 2), (4, 4)]
    text = str(next(iter(client.get(LIST).context["messages"])))
    assert text.startswith("5 ")
    late.refresh_from_db()
    assert (late.status, late.priority) == ("pending", 5)
    changed = Task.objects.exclude(pk=late.pk).values_list("status", "priority")
    assert list(set(changed)) == [("cancelled", 5) if address == CANCEL else ("pending", 18)]


def test_progress_is_continued_by_the_same_person_on_the_same_page_only(monkeypatch):
    monkeypatch.setattr(matching, "SLICE_SEC", 0.0)
    monkeypatch.setattr(bulk, "CHUNK", 1)
    for _ in range(3):
        spawn_note()
    first, other = log_in("Operator"), log_in("Operator", name="other")
    token = begin(first, CANCEL, expected="3").context["progress"].token
    before = TaskEvent.objects.count()
    assert other.post(f"{CANCEL}?", {"progress": token}).status_code == 302
    assert first.post(f"{CANCEL}?status=pending", {"progress": token}).status_code == 302
    assert first.post(f"{CANCEL}?", {"progress": token[:-1]}).status_code == 302
    assert first.post(f"{REPRIORITIZE}?", {"progress": token}).status_code == 302
    assert TaskEvent.objects.count() == before
    viewer = log_in("Viewer", name="viewer")
    assert viewer.get(CANCEL).status_code == viewer.post(f"{CANCEL}?", {"progress": token}).status_code == 403
    assert "All of them" not in viewer.get(LIST).content.decode()
