"""Why a pending task is not running: nobody to run it, no room, no slot, others first."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection

from tasks_app.engine import registry
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import NewTask, spawn, spawn_many
from tasks_app.models import Attempt, Reservation, Task, Worker
from tasks_app.monitoring.explain import pending
from tasks_app.monitoring.explain.explanation import explain
from tasks_app.postgresql import clock
from tests.tasks_app.monitoring.explain.explained import QUEUE, blocking, codes, finding, pass_time, ready_worker
from tests.tasks_app.notes import NOTE, REPORT, claim_one, spawn_note
from tests.tasks_app.test_claim_cost import fill
from tests.workers.live import claim_for

pytestmark = pytest.mark.django_db


@pytest.fixture
def spawn_heavy(monkeypatch):
    def of(memory_gb: float, **options) -> Task:
        spec = replace(NOTE, name=f"heavy-{memory_gb:g}", memory_gb=memory_gb)
        monkeypatch.setitem(registry._specs, spec.name, spec)
        return spawn(NewTask.of(task_name=spec.name, params={"text": "a"}, **options), actor="user:test")

    return of


def spawn_notes(n: int, **options) -> list[Task]:
    return spawn_many([NewTask.of(task_name="note", params={"text": "a"}, **options) for _ in range(n)], actor="test")


def test_a_queue_that_no_worker_ever_served_shows_how_to_start_one():
    task = spawn_note(queue_name="night-shift")
    ready_worker(queues=["other"])
    found = finding(task, "no_worker")
    assert found.text == "No live worker serves the queue night-shift, and none ever has."
    assert found.remedy == "Start one: manage.py runworker --queue-name night-shift"
    assert blocking(task) == ["no_worker"]


def test_the_last_worker_of_a_queue_is_named_with_when_it_was_seen():
    ready_worker(label="older", stopped_at=clock.now())
    pass_time(60)
    ready_worker(label="newer", host="lxd110h05", heartbeat_at=clock.now())
    task = spawn_note()
    pass_time(29, heard_of=False)
    assert codes(task) == ["claimable"]
    pass_time(91, heard_of=False)
    found = finding(task, "no_worker")
    assert "the last one that did, newer@lxd110h05, last reported 2" in found.text
    assert found.text.endswith("(2 min 00 s ago).")
    Worker.objects.filter(label="newer").update(stopped_at=clock.now())
    assert "newer@lxd110h05, stopped 2" in finding(task, "no_worker").text
    assert found.detail["last"]["worker"] == "newer"


def test_where_absurd_is_disabled_the_remedy_begins_with_that(monkeypatch):
    task = spawn_note()
    monkeypatch.setattr(settings, "ABSURD_ENABLED", False)
    assert finding(task, "no_worker").remedy.startswith(
        "Absurd is disabled: run manage.py absurd_enable first. Start one:"
    )


def test_workers_that_have_to_claim_nothing_are_listed():
    ready_worker(draining=True)
    task = spawn_note()
    assert finding(task, "workers_paused").text == (
        "The only live worker of this queue is paused or draining: worker-1@test."
    )
    ready_worker(label="worker-2", draining=True)
    assert finding(task, "workers_paused").text.startswith("All 2 live workers of this queue are paused or draining")
    assert blocking(task) == ["workers_paused"]
    ready_worker(label="worker-3")
    assert codes(task) == ["claimable"]


def test_a_task_that_takes_longer_than_any_worker_has_left():
    now = clock.now()
    ready_worker(label="pilot-1", drains_at=now + timedelta(minutes=10))
    ready_worker(label="pilot-2", drains_at=now + timedelta(minutes=40), memory_gb=1.0)
    task, short = spawn_note(timeout_sec=7200), spawn_note(timeout_sec=300)
    found = finding(task, "time_left_short")
    assert found.text.startswith(
        "Its timeout of 2 h 00 min ends after the time limits of all live workers: the last one, pilot-2@test, drains "
    )
    assert blocking(task) == ["time_left_short"] and "time_left_short" not in codes(short)
    ready_worker(label="worker-3", drains_at=now + timedelta(hours=3))
    assert "time_left_short" not in codes(task)


def test_a_task_that_no_worker_is_large_enough_for(spawn_heavy):
    ready_worker(memory_gb=4.0), ready_worker(label="worker-2", host="large", host_id="large", memory_gb=8.0)
    task = spawn_heavy(12.0)
    assert finding(task, "memory_too_big").text == (
        "It needs 12 GB, and the largest live worker, worker-2@large, has 8 GB."
    )
    assert blocking(task)[0] == "memory_too_big"


def test_memory_that_other_workers_of_the_host_have_taken_is_not_free(spawn_heavy):
    worker = ready_worker()
    neighbour = ready_worker(label="neighbour", queues=["other"])
    spawn_heavy(6.0, queue_name="other")
    claim_one(neighbour)
    task = spawn_heavy(4.0)
    found = finding(task, "memory_busy")
    assert found.text == (
        "It needs 4 GB, and no live worker has enough free: worker-1@test has 2 of 8 GB, the rest is reserved for "
        "1 claimed task of its host."
    )
    assert found.detail["workers"] == [{"worker": "worker-1", "host": "test", "free_gb": 2.0, "memory_gb": 8.0}]
    assert claim_for(worker, 4) == []
    assert blocking(task) == ["memory_busy"]


def test_workers_with_full_disks_claim_nothing_and_that_is_said(settings):
    settings.ABSURD_DISK_FLOOR_GB = 5.0
    ready_worker(label="worker-2", disk_gb=3.25)
    ready_worker(label="worker-3", ordered="pause")
    task = spawn_note()
    found = finding(task, "disk_low")
    assert "less than 5 GB of disk is free: worker-2@test has 3.25 GB." in found.text
    assert blocking(task) == ["disk_low"]
    Worker.objects.filter(label="worker-2").update(disk_gb=5.5)
    assert blocking(task) == []


def test_a_task_that_needs_more_cores_than_are_free_reports_it(monkeypatch):
    worker = ready_worker(cores=4)
    monkeypatch.setitem(registry._specs, "wide", replace(NOTE, name="wide", cores=3))
    wide = [spawn(TaskOptions(task_name="wide", params={"text": "a"}), actor="user:test") for _ in range(2)]
    assert len(claim_for(worker, 2)) == 1
    found = finding(wide[1], "cores_busy")
    assert "It needs 3 cores" in found.text and "worker-1@test has 1 of 4" in found.text


def test_a_host_whose_cores_are_all_taken_still_runs_what_needs_none(monkeypatch):
    """Another worker of the host may use more cores, and has claimed more than this one may use."""
    small, large = ready_worker(cores=2), ready_worker(label="large", cores=8, queues=["other"])
    for name, cores in (("wide", 3), ("light", 0)):
        monkeypatch.setitem(registry._specs, name, replace(NOTE, name=name, cores=cores))
    for _ in range(2):
        spawn(TaskOptions(task_name="wide", params={"text": "a"}, queue_name="other"), actor="user:test")
    assert len(claim_for(large, 2)) == 2
    one = spawn_note()
    assert "It needs 1 core, and" in finding(one, "cores_busy").text and "has 0 of 2" in finding(one, "cores_busy").text
    light = spawn(TaskOptions(task_name="light", params={"text": "a"}), actor="user:test")
    assert blocking(light) == [] and "cores_busy" not in codes(light)
    assert [claim.task_id for claim in claim_for(small, 2)] == [light.task_id]


def test_room_kept_for_another_task_is_named(spawn_heavy):
    ready_worker()
    other, task = spawn_heavy(7.5, priority=20), spawn_note()
    Reservation.objects.create(host_id="test", task_id=other.task_id, memory_gb=7.5, cores=1)
    found = finding(task, "memory_busy")
    assert f"for task {other.task_id}" in found.text


def test_busy_slots_are_counted_over_the_live_workers_that_have_the_memory(spawn_heavy):
    first = ready_worker(concurrency=2)
    ready_worker(label="small", host_id="small", memory_gb=0.5)
    spawn_note(), spawn_note()
    pass_time(0)
    claim_tasks(first, limit=2)
    pass_time(120)
    ready_worker(label="dead", heartbeat_at="2000-01-01T00:00Z")
    task = spawn_note()
    found = finding(task, "slots_busy")
    assert found.text.startswith("All slots are busy, 2 of 2 of 1 live worker with enough memory; the longest-running")
    assert found.text.endswith("(2 min 00 s ago).")
    assert (found.detail["slots"], found.detail["busy"], found.detail["workers"]) == (2, 2, 1)
    assert codes(task) == ["slots_busy", "behind"]
    assert finding(task, "behind").text.startswith(
        "It is next in its queue, with an unknown waiting time: no attempt of"
    )
    assert not explain(task).is_blocked


def test_the_place_in_the_line_is_that_of_the_claim_with_the_time_it_takes():
    worker = ready_worker(concurrency=1)
    done = [spawn_note(priority=20) for _ in range(3)]
    pass_time(0)
    for _ in done:
        claim = claim_one(worker)
        pass_time(60)
        complete_task(claim, {}, REPORT)
    spawn_note(priority=20)
    claim_one(worker)
    spawn_notes(4)
    task = spawn_note()
    spawn_notes(5)
    found = finding(task, "behind")
    assert found.text == ("It is behind 4 tasks, about 5 min at the present rate (3 attempts ended in the last 3 min).")
    assert (found.detail["ahead"], found.detail["rate_per_min"], found.detail["eta_sec"]) == (4, 1.0, 300.0)
    assert [each.code for each in explain(task).findings] == ["slots_busy", "behind"]
    assert explain(task).summary.startswith(
        "Waiting for its turn: it is behind 4 tasks, about 5 min at the present rate"
    )


def test_the_rate_is_that_of_the_last_quarter_of_an_hour_and_of_this_queue():
    worker = ready_worker(concurrency=1, queues=[QUEUE, "other"])
    spawn_note(queue_name="other"), spawn_note(queue_name="other")
    pass_time(0)
    complete_task(claim_one(worker), {}, REPORT)
    claim_one(worker)
    task = spawn_note()
    assert "no attempt of this queue ended in the last 15 min" in finding(task, "behind").text
    assert finding(task, "behind").detail["eta_sec"] is None
    spawn_note(priority=20)
    claim = claim_one(worker)
    pass_time(1800)
    complete_task(claim, {}, REPORT)
    assert "15 min at the present rate (1 attempt ended in the last 15 min)" in finding(task, "behind").text
    pass_time(901)
    assert "rate" not in finding(task, "behind").text


def test_more_than_are_counted_is_said_so_and_its_time_is_a_lower_bound():
    worker = ready_worker(concurrency=1)
    spawn_note(priority=20)
    pass_time(0)
    claim = claim_one(worker)
    pass_time(60)
    complete_task(claim, {}, REPORT)
    spawn_notes(1001)
    task = spawn_note()
    found = finding(task, "behind")
    assert found.text == (
        "It is behind more than 1,000 tasks, more than 17 h at the present rate (1 attempt ended in the last 60 s)."
    )
    assert found.detail["ahead_is_exact"] is False


def test_tasks_of_the_same_rank_stand_in_the_order_of_their_ids():
    ready_worker(concurrency=2)
    tasks = spawn_notes(4)
    assert len({task.rank for task in tasks}) == 1
    assert [finding(task, "behind").detail["ahead"] for task in tasks[2:]] == [2, 3]
    assert [codes(task) for task in tasks[:2]] == [["claimable"], ["claimable"]]
    assert "with 2 free slots and 1 task before it" in finding(tasks[1], "claimable").text


def test_what_is_held_does_not_stand_in_the_line():
    ready_worker(concurrency=1)
    parent = spawn_note()
    spawn_note(depends_on=[parent.task_id], priority=14)
    Task.objects.filter(pk=parent.pk).update(rank=0)
    assert finding(spawn_note(), "behind").detail["ahead"] == 1


def test_a_blocked_task_shows_its_place_but_no_time():
    spawn_note()
    task = spawn_note()
    assert codes(task) == ["no_worker", "behind"]
    assert finding(task, "behind").text == "It is behind 1 task."
    assert Attempt.objects.count() == 0


def returned(relation: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_get_xact_tuples_returned(%s::regclass)", [relation])
        return int(cursor.fetchone()[0])


def test_100000_tasks_before_it_are_not_read_to_explain_the_last():
    worker = ready_worker(concurrency=1)
    spawn_note()
    complete_task(claim_one(worker), {}, REPORT)
    spawn_note()
    claim_one(worker)
    fill(n=100_000)
    task = spawn_note()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_app_task")
    before = returned("tasks_app_task"), returned("task_claimable")
    assert finding(task, "behind").text.startswith("It is behind more than 1,000 tasks, more than ")
    # No more index entries are read than are counted, and the table is not read whole.
    assert returned("tasks_app_task") - before[0] == 0
    assert returned("task_claimable") - before[1] <= pending.COUNTED_MOST + 1


def test_a_task_name_that_no_live_worker_knows_blocks_until_one_does():
    ready_worker(label="old", task_names=["echo"])
    task = spawn_note()
    found = finding(task, "unknown_task_name")
    assert found.text == f"No live worker of the queue {QUEUE} knows the task name note, so none claims it: old@test."
    assert blocking(task) == ["unknown_task_name"]
    ready_worker(label="new", task_names=["echo", "note"])
    assert blocking(task) == []
