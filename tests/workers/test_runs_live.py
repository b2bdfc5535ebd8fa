"""A whole run through real workers: fan out, one fails, enough are gathered, retried from a stage on."""

from __future__ import annotations

import pytest

from tasks_app.engine.options import Join
from tasks_app.models import Task
from tasks_app.operations.run_retry import RetryCounts, retry_run
from tasks_app.operations.runs import start
from tasks_app.workflows.plan import All, One, RunPlan
from tasks_app.workflows.state import state_of

pytestmark = pytest.mark.chaos


def test_results_of_parents_reach_their_children_through_real_processes(workers):
    plan = (
        RunPlan("mosaic")
        .stage("observe", "echo", params={"value": "tile"})
        .stage("image", "echo", fan_out=[{"outputs": {f"{n}.txt": "x"}} for n in range(3)],
               bindings={"value": One("observe", "value")})
        .stage("broken", "fail", after=["observe"], max_retries=0)
        .stage("mosaic", "echo", bindings={"value": All("image", "paths")}, after=["broken"], join=Join(quorum=3))
    )  # fmt: skip
    run = start(plan, "user:test")
    workers.burst("--concurrency", "4")
    state = state_of(run)
    assert (state.word, state.completed, state.failed) == ("completed", 5, 1)
    images = Task.objects.filter(run=run, stage="image").order_by("id")
    assert [image.result["value"] for image in images] == ["tile"] * 3
    mosaic = Task.objects.get(run=run, stage="mosaic")
    assert mosaic.result["value"] == [image.result["paths"] for image in images]

    assert retry_run(run.run_id, actor="user:test", from_stage="image") == RetryCounts(retried=1, respawned=4)
    workers.burst("--concurrency", "4")
    state = state_of(run)
    assert (state.word, state.completed, state.superseded) == ("completed", 5, 4)
    again = Task.objects.get(run=run, stage="mosaic").result["value"]
    assert len(again) == 3
    assert again != mosaic.result["value"]
