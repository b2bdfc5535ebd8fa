"""Tasks that wait for several others: all of them, or enough, or enough by a deadline."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from tasks_app.engine.bindings import Gather
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.options import Join
from tasks_app.engine.spawn import NewTask, spawn_many
from tasks_app.errors import ParamsInvalid
from tasks_app.maintenance.sweeper import Sweeper, fire_joins
from tasks_app.models import Run, Task
from tasks_app.operations.tasks import retry
from tasks_app.postgresql import clock
from tests.tasks_app.notes import REPORT, claim_one, event_types, spawn_note

pytestmark = pytest.mark.django_db


def pass_time(seconds: float) -> None:
    """Let the database's clock, as this session sees it, go on."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('absurd.now', %s, true)", [str(clock.now() + timedelta(seconds=seconds))])


def parents_and_child(n: int, join: Join | None) -> tuple[list[Task], Task]:
    parents = [spawn_note() for _ in range(n)]
    return parents, spawn_note(depends_on=[parent.task_id for parent in parents], join=join, priority=1)


def complete_next(worker, n: int = 1) -> None:
    for _ in range(n):
        complete_task(claim_one(worker), {"title": "done"}, REPORT)


def state(task: Task) -> str:
    task.refresh_from_db()
    return task.display_status


def test_a_quorum_alone_is_enough_at_once(worker):
    _, child = parents_and_child(3, Join(quorum=2))
    complete_next(worker)
    assert state(child) == "waiting"
    complete_next(worker)
    assert state(child) == "pending"
    complete_next(worker)
    assert event_types(child) == ["spawned", "released"]


def test_until_the_deadline_it_waits_for_all_and_then_for_the_quorum(worker):
    _, child = parents_and_child(3, Join(quorum=2, deadline_sec=1200))
    complete_next(worker, 2)
    assert state(child) == "waiting"
    pass_time(1199)
    Sweeper().sweep()
    assert state(child) == "waiting"
    pass_time(2)
    assert fire_joins() == 1
    assert state(child) == "pending"
    assert event_types(child) == ["spawned", "released"]


def test_a_quorum_reached_after_the_deadline_releases_at_that_moment(worker):
    _, child = parents_and_child(3, Join(quorum=2, deadline_sec=10))
    complete_next(worker)
    pass_time(60)
    Sweeper().sweep()
    assert state(child) == "waiting"
    complete_next(worker)
    assert state(child) == "pending"


def test_no_deadline_is_awaited_when_no_parent_is_still_to_come(worker):
    _, child = parents_and_child(3, Join(quorum=2, deadline_sec=1200))
    fail_attempt(claim_one(worker), "cancelled", "on request", REPORT)
    complete_next(worker, 2)
    assert state(child) == "pending"


def test_one_parent_failed_for_good_fails_only_what_cannot_do_without_it(worker):
    parents = [spawn_note() for _ in range(3)]
    ids = [parent.task_id for parent in parents]
    needs_all, needs_two = spawn_note(depends_on=ids), spawn_note(depends_on=ids, join=Join(quorum=2))
    fail_attempt(claim_one(worker), "invalid", "no such file", REPORT)
    assert (state(needs_all), state(needs_two)) == ("failed", "waiting")
    fail_attempt(claim_one(worker), "invalid", "no such file either", REPORT)
    assert state(needs_two) == "failed"
    retry(parents[1].task_id, actor="user:test")
    retry(parents[0].task_id, actor="user:test")
    assert (state(needs_all), state(needs_two)) == ("waiting", "waiting")


def test_a_task_once_released_is_not_held_back_by_a_retried_parent(worker):
    parents, child = parents_and_child(2, Join(quorum=1))
    fail_attempt(claim_one(worker), "invalid", "no such file", REPORT)
    complete_next(worker)
    retry(parents[0].task_id, actor="user:test")
    assert state(child) == "pending"
    claims = claim_tasks(worker, limit=2)
    assert child.task_id in {claim.task_id for claim in claims}


def test_a_failed_parent_leaves_its_children_waiting_and_its_retry_lets_them_go_on(worker):
    parent = spawn_note(max_retries=0)
    child = spawn_note(depends_on=[parent.task_id])
    fail_attempt(claim_one(worker), "error", "boom", REPORT)
    assert state(child) == "waiting"
    retry(parent.task_id, actor="user:test")
    complete_next(worker)
    assert state(child) == "pending"


def test_a_list_param_gathers_what_the_completed_parents_have_in_their_order(worker):
    parents = [spawn_note(params={"text": str(n)}) for n in range(3)]
    child = spawn_note(
        task_name="gather",
        params={},
        bindings={"titles": Gather(task_ids=[p.task_id for p in reversed(parents)], field="title")},
        join=Join(quorum=2),
    )
    for _ in range(2):
        claim = claim_one(worker)
        complete_task(claim, {"title": claim.params["text"]}, REPORT)
    fail_attempt(claim_one(worker), "cancelled", "", REPORT)
    claim = claim_one(worker)
    assert (claim.task_id, claim.params["titles"]) == (child.task_id, ["1", "0"])


def test_a_task_may_wait_for_whole_runs(worker):
    run = Run.objects.create(workflow="standard-pipeline")
    inside = [spawn_note(run=run), spawn_note(run=run)]
    after = spawn_note(depends_on_runs=[run.run_id])
    complete_next(worker, len(inside) - 1)
    assert state(after) == "waiting"
    complete_next(worker)
    assert state(after) == "pending"


@pytest.mark.parametrize("join", [{"quorum": 3}, {"quorum": 0}, {"deadline_sec": 60.0}])
def test_a_join_that_makes_no_sense_is_refused(join):
    parents = [spawn_note(), spawn_note()]
    with pytest.raises(ParamsInvalid, match=r"join\.quorum"):
        spawn_note(depends_on=[parent.task_id for parent in parents], join=join)


def test_tasks_that_wait_for_each_other_are_refused():
    first, second = spawn_note().task_id, spawn_note().task_id
    Task.objects.all().delete()
    requests = [
        NewTask.of(task_name="note", params={"text": "a"}, task_id=first, depends_on=[second]),
        NewTask.of(task_name="note", params={"text": "b"}, task_id=second, depends_on=[first]),
    ]
    with pytest.raises(ParamsInvalid, match="wait for each other"):
        spawn_many(requests, actor="user:test")


def test_parents_are_inserted_before_their_children_however_they_are_listed():
    ids = [spawn_note().task_id for _ in range(3)]
    Task.objects.all().delete()
    spawn_many(
        [
            NewTask.of(task_name="note", params={"text": "a"}, task_id=ids[0], depends_on=ids[1:2]),
            NewTask.of(task_name="note", params={"text": "b"}, task_id=ids[1], depends_on=ids[2:3]),
            NewTask.of(task_name="note", params={"text": "c"}, task_id=ids[2]),
        ],
        actor="user:test",
    )
    assert list(Task.objects.order_by("id").values_list("task_id", flat=True)) == ids[::-1]
