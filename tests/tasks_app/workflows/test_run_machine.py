"""Random runs with random ends: whatever happens, each task has an end or a named reason to wait, and a retry helps."""

from __future__ import annotations

import random

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.options import Join
from tasks_app.maintenance.sweeper import fire_joins
from tasks_app.models import Hold, Run, Task, TaskDependency
from tasks_app.models.task import FINISHED
from tasks_app.operations.runs import retry_run
from tasks_app.operations.tasks import cancel
from tasks_app.workflows.graph import graph_of
from tasks_app.workflows.plan import RunPlan
from tests.tasks_app.notes import make_worker
from tests.tasks_app.workflows.run_plans import HELLO, begin, break_, finish, finish_all, pass_time, state

ENDS = ("complete", "complete", "complete", "error", "invalid", "cancelled", "killed")


def draw_plan(chance: random.Random) -> RunPlan:
    """A run of up to nine stages, each of up to three tasks, wired at random, some with joins."""
    plan = RunPlan("random")
    sizes: dict[str, int] = {}
    for number in range(chance.randint(1, 9)):
        name = f"stage-{number}"
        after = [earlier for earlier in sizes if chance.random() < 0.35]
        parents = sum(sizes[earlier] for earlier in after)
        join = None
        if parents > 1 and chance.random() < 0.4:
            join = Join(quorum=chance.randint(1, parents), deadline_sec=chance.choice([None, 60.0]))
        size = chance.randint(1, 3)
        plan.stage(name, "note", fan_out=[HELLO] * size, after=after, join=join, max_retries=0)
        sizes[name] = size
    return plan


def live(run: Run, worker, chance: random.Random) -> None:
    """Let everything happen that happens by itself, with random ends and an operator who cancels now and then."""
    for _ in range(200):
        pending = list(Task.objects.filter(run=run, status="pending"))
        if pending and chance.random() < 0.05:
            cancel(chance.choice(pending).task_id, actor="user:test")
        claims = claim_tasks(worker, limit=chance.randint(1, 4))
        if chance.random() < 0.2:
            pass_time(30)
            fire_joins()
        for claim in claims:
            end = chance.choice(ENDS)
            finish(claim) if end == "complete" else break_(claim, end)
        if not claims:
            pass_time(61)
            fire_joins()
            if not Task.objects.filter(run=run, status="pending", hold=0).exists():
                return
    raise AssertionError("the run did not come to rest")


def check_at_rest(run: Run) -> None:
    tasks = {task.task_id: task for task in Task.objects.filter(run=run)}
    edges = TaskDependency.objects.filter(child_task_id__in=tasks).values_list("parent_task_id", "child_task_id")
    hindered = {task_id for task_id, task in tasks.items() if task.status in ("failed", "cancelled")}
    for _ in tasks:
        hindered |= {child for parent, child in edges if parent in hindered}
    for task in tasks.values():
        if task.status not in FINISHED:
            assert task.hold & Hold.DEPENDENCY, task
            assert task.task_id in hindered, "it waits without a failed or cancelled ancestor"
    check_state(run, tasks)


def check_state(run: Run, tasks) -> None:
    now = state(run)
    statuses = [task.status for task in tasks.values()]
    assert (now.word == "stalled") == ("pending" in statuses)
    assert now.word not in ("running", "waiting")
    assert (now.completed, now.failed, now.cancelled) == tuple(
        statuses.count(status) for status in ("completed", "failed", "cancelled")
    )
    if now.word == "stalled":
        assert now.trouble is not None
        assert graph_of(run).behind(now.trouble.task_id)
    if "failed" not in statuses and "cancelled" not in statuses:
        assert now.word == "completed"


@pytest.mark.django_db
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(min_value=0, max_value=10**9))
def test_random_runs_come_to_rest_with_a_reason_and_to_their_end_after_a_retry(seed):
    chance = random.Random(seed)
    point = transaction.savepoint()
    try:
        worker = make_worker()
        run = begin(draw_plan(chance))
        live(run, worker, chance)
        check_at_rest(run)
        if chance.random() < 0.3 and state(run).word != "completed":
            retry_run(run.run_id, actor="user:test")
            live(run, worker, chance)
            check_at_rest(run)
        if state(run).failed or state(run).cancelled:
            retry_run(run.run_id, actor="user:test")
        finish_all(worker)
        assert set(Task.objects.filter(run=run).values_list("status", flat=True)) == {"completed"}
        assert state(run).word == "completed"
        check_from_a_stage(run, worker, chance)
    finally:
        transaction.savepoint_rollback(point)


def check_from_a_stage(run: Run, worker, chance: random.Random) -> None:
    """Run again from a random stage, with random ends, and then to the end."""
    total = state(run).total
    stage = chance.choice(sorted(set(Task.objects.filter(run=run).values_list("stage", flat=True))))
    respawned = retry_run(run.run_id, actor="user:test", from_stage=stage).respawned
    assert (state(run).total, state(run).superseded) == (total, respawned)
    live(run, worker, chance)
    if state(run).failed or state(run).cancelled:
        retry_run(run.run_id, actor="user:test")
    finish_all(worker)
    now = state(run)
    assert (now.word, now.completed, now.total) == ("completed", total, total)
