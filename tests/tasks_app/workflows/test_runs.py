"""Runs from start to end, and how they stand on the way."""

from __future__ import annotations

from operator import attrgetter

import pytest
from django.db import connection

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.options import Join
from tasks_app.errors import Disabled, ParamsInvalid
from tasks_app.maintenance.sweeper import fire_joins
from tasks_app.models import Run, Task, TaskEvent
from tasks_app.operations.runs import start
from tasks_app.operations.tasks import cancel, retry
from tasks_app.workflows.graph import graph_of
from tasks_app.workflows.plan import RunPlan
from tasks_app.workflows.state import states_of
from tests.tasks_app.notes import REPORT, spawn_note
from tests.tasks_app.workflows.run_plans import (
    HELLO,
    begin,
    break_,
    claim_all,
    diamond,
    fan,
    finish,
    finish_all,
    linear,
    pass_time,
    state,
    task_of,
)

pytestmark = pytest.mark.django_db


def test_a_chain_hands_each_result_on_and_is_completed_with_its_last_task(worker):
    run = begin(linear())
    assert (state(run).word, state(run).reason) == ("waiting", "1 in the queue, 2 for other tasks")
    finish(claim_all(worker)["convert"], "converted")
    image = claim_all(worker)["image"]
    assert image.params == {"text": "converted"}
    now = state(run)
    assert (now.word, now.completed, now.total, now.finished_at) == ("running", 1, 3, None)
    finish(image, "an image")
    measure = claim_all(worker)["measure"]
    assert measure.params == {"text": "an image"}
    finish(measure)
    now = state(run)
    assert (now.word, now.reason, now.progress) == ("completed", "", 1.0)
    assert now.finished_at == task_of(run, "measure").completed_at
    assert now.started_at == task_of(run, "convert").claimed_at


def test_it_begins_whole_or_not_at_all_and_says_who_began_it(settings):
    with pytest.raises(ParamsInvalid, match="no task 0"):
        broken = linear().stage("extra", "note", params=HELLO, depends_on=["00000000-0000-0000-0000-000000000000"])
        start(broken, "user:test")
    settings.ABSURD_ENABLED = False
    with pytest.raises(Disabled):
        begin(linear())
    settings.ABSURD_ENABLED = True
    assert (Run.objects.count(), Task.objects.count()) == (0, 0)
    run = begin(linear())
    assert (run.workflow, run.label, run.created_by) == ("linear", "tile", "user:test")
    event = TaskEvent.objects.get(event_type="run_started")
    assert (event.run_id, event.detail["tasks"], event.task_id) == (run.run_id, 3, None)


def test_a_diamond_joins_after_both_sides(worker):
    run = begin(diamond())
    order = finish_all(worker)
    assert (order[0], set(order[1:3]), order[3]) == ("top", {"left", "right"}, "join")
    assert state(run).word == "completed"


def test_twelve_images_and_a_mosaic_of_nine_after_the_deadline(worker):
    run = begin(fan(12, Join(quorum=9, deadline_sec=1200)))
    claims = claim_tasks(worker, limit=20)
    assert len(claims) == 12
    for claim in claims[:9]:
        finish(claim, f"image {claim.params['text']}")
    break_(claims[9], "error")
    pass_time(1199)
    assert fire_joins() == 0
    assert task_of(run, "mosaic").display_status == "waiting"
    pass_time(2)
    fire_joins()
    mosaic = claim_all(worker)["mosaic"]
    assert mosaic.params == {"titles": [f"image {n}" for n in range(9)]}
    finish(mosaic)
    break_(claims[10])
    finish(claims[11])
    now = state(run)
    assert (now.word, now.reason) == ("completed", "2 tasks not needed")
    assert (now.failed, now.done_without, now.completed) == (2, 2, 11)


def test_fewer_than_the_quorum_stall_the_run_and_say_why(worker):
    run = begin(fan(12, Join(quorum=9, deadline_sec=1200)))
    claims = claim_tasks(worker, limit=20)
    for claim in claims[:8]:
        finish(claim)
    break_(claims[8], "error", "no space left on device\nTraceback")
    assert state(run).word == "running"
    assert state(run).reason == "image failed (error): no space left on device"
    for claim in claims[9:]:
        break_(claim, "error")
    pass_time(1201)
    fire_joins()
    now = state(run)
    assert now.word == "stalled"
    assert now.reason == "image failed (error): no space left on device; 1 task waits until it is retried"
    assert now.trouble.task_id == claims[8].task_id


def test_a_chain_behind_bad_input_fails_and_names_the_first_task(worker):
    run = begin(linear())
    break_(claim_all(worker)["convert"], "invalid", "no such file")
    now = state(run)
    assert (now.word, now.failed) == ("failed", 3)
    assert now.reason == "convert failed (invalid): no such file; 2 more failed"


def test_a_cancelled_task_stalls_what_waits_for_it(worker):
    run = begin(linear())
    cancel(task_of(run, "convert").task_id, actor="user:test")
    assert state(run).word == "stalled"
    assert state(run).reason == "convert was cancelled; 2 tasks wait until it is retried"


def test_a_run_that_waits_for_another_is_not_stalled_until_that_one_fails(worker):
    first = begin(linear())
    solve = task_of(first, "measure")
    second = begin(RunPlan("target").stage("apply", "note", params=HELLO, depends_on=[solve.task_id]))
    assert (state(second).word, state(second).reason) == ("waiting", "1 for other tasks")
    cancel(solve.task_id, actor="user:test")
    assert state(second).word == "stalled"
    assert f"measure of run {first.run_id} was cancelled" in state(second).reason
    retry(solve.task_id, actor="user:test")
    finish_all(worker)
    assert [state(run).word for run in (first, second)] == ["completed", "completed"]


def test_runs_after_waits_for_every_task_of_the_run(worker):
    night = begin(diamond())
    begin(RunPlan("nightly").stage("report", "note", params=HELLO, depends_on_runs=[night.run_id]))
    assert finish_all(worker)[-1] == "report"


@pytest.mark.parametrize("failure_class", ["error", "invalid"])
def test_a_run_goes_on_after_the_retry_of_its_failed_task(worker, failure_class):
    run = begin(linear(max_retries=0))
    break_(claim_all(worker)["convert"], failure_class)
    retry(task_of(run, "convert").task_id, actor="user:test")
    assert state(run).word == "waiting"
    assert finish_all(worker) == ["convert", "image", "measure"]


def test_scheduled_and_stopping_tasks_are_told(worker):
    run = begin(linear())
    claim = claim_all(worker)["convert"]
    cancel(claim.task_id, actor="user:test")
    assert (state(run).word, state(run).reason) == ("running", "1 task asked to stop")
    other = begin(linear())
    break_(claim_all(worker)["convert"], "error")
    assert state(other).reason.startswith("1 until their time, 2 for other tasks")


def test_a_run_without_tasks_says_so(db):
    run = Run.objects.create(workflow="empty")
    assert (state(run).word, state(run).reason, state(run).progress) == ("waiting", "it has no tasks", 0.0)


def test_states_of_many_runs_take_one_query(worker, django_assert_num_queries):
    runs = [begin(linear()) for _ in range(5)]
    finish_all(worker)
    runs.append(begin(linear()))
    with django_assert_num_queries(1):
        states = states_of(runs)
    assert [states[run.run_id].word for run in runs] == ["completed"] * 5 + ["waiting"]


def test_a_task_of_its_own_is_not_counted(worker):
    spawn_note()
    run = begin(linear())
    assert state(run).total == 3


def test_no_work_completes_and_lets_the_next_stage_find_nothing(worker):
    run = begin(RunPlan("x").stage("a", "note", params=HELLO).stage("b", "note", params=HELLO, after=["a"]))
    fail_attempt(claim_all(worker)["a"], "no_work", "nothing in the field", REPORT)
    assert finish_all(worker) == ["b"]
    assert state(run).word == "completed"


_ARCHIVE = """
INSERT INTO tasks_app_archivedtask (id, task_id, queue_name, task_name, status, run_id, created_at, completed_at,
    last_event_id, archived_at, task, attempts, events)
SELECT task.id, task_id, queue_name, task_name, status, run.run_id, task.created_at, completed_at, 0, now(),
    to_jsonb(task), '[]', '[]'
FROM tasks_app_task AS task JOIN tasks_app_run AS run ON run.id = task.run_id
"""


def test_a_run_stands_as_it_did_when_its_tasks_are_in_the_archive(worker):
    runs = [begin(linear()), begin(fan(3, Join(quorum=2))), begin(linear())]
    first, spoilt, *others = claim_tasks(worker, limit=10)
    break_(first, "invalid", "no such file")
    break_(spoilt, "invalid", "bad field")
    for claim in others:
        finish(claim)
    finish_all(worker)
    before = states_of(runs)
    graphs = [graph_of(run) for run in runs]
    assert [before[run.run_id].word for run in runs] == ["failed", "completed", "completed"]
    assert before[runs[1].run_id].done_without == 1
    with connection.cursor() as cursor:
        cursor.execute(_ARCHIVE)
    Task.objects.all().delete()
    assert states_of(runs) == before
    for run, graph in zip(runs, graphs, strict=True):
        kept = graph_of(run)
        names = attrgetter("task_id", "stage", "status", "error", "claimed_at", "duration_sec")
        assert list(map(names, kept.nodes)) == list(map(names, graph.nodes))
        assert kept.edges == graph.edges
