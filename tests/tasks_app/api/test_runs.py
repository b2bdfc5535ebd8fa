from __future__ import annotations

import pytest

from tasks_app.engine.options import Join
from tasks_app.models import Run, Task, TaskEvent
from tasks_app.workflows.plan import RunPlan
from tests.tasks_app.callers import Caller, make_key
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
    task_of,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(db: None) -> Caller:
    return Caller(make_key("read", "operate"))


def test_the_list_shows_the_newest_first_with_their_states(operator, worker):
    done = begin(linear())
    finish_all(worker)
    begin(RunPlan("other", label="2025").stage("a", "note", params=HELLO))
    body = operator.get("runs").body
    assert [(run["workflow"], run["state"]) for run in body["runs"]] == [("other", "waiting"), ("linear", "completed")]
    assert body["runs"][1]["run_id"] == str(done.run_id)
    assert (body["runs"][1]["completed"], body["runs"][1]["total"], body["runs"][1]["progress"]) == (3, 3, 1.0)
    assert body["next"] is None


def test_the_list_is_paged_and_narrowed(operator):
    for number in range(3):
        begin(RunPlan("nightly", label=f"night {number}").stage("a", "note", params=HELLO))
    begin(linear())
    first = operator.get("runs?workflow=nightly&limit=2").body
    assert [run["label"] for run in first["runs"]] == ["night 2", "night 1"]
    assert [run["label"] for run in operator.get(first["next"]).body["runs"]] == ["night 0"]
    assert [run["label"] for run in operator.get("runs?label=tile").body["runs"]] == ["tile"]
    assert operator.get("runs?created_after=yesterday").status_code == 400
    assert operator.get("runs?state=running").status_code == 400


def test_the_list_takes_a_fixed_number_of_queries(operator, worker, django_assert_max_num_queries):
    for _ in range(12):
        begin(diamond())
    break_(claim_all(worker)["top"])
    operator.get("queues")  # writes when the key was last used, for a minute
    with django_assert_max_num_queries(7):
        assert len(operator.get("runs").body["runs"]) == 12


def test_one_run_is_shown_as_a_graph_with_the_reason_of_each_wait(operator, worker):
    run = begin(diamond())
    finish(claim_all(worker)["top"])
    claims = claim_all(worker)
    Task.objects.filter(run=run).update(max_retries=0)
    break_(claims["left"], "error", "no space left")
    body = operator.get(f"runs/{run.run_id}").body
    nodes = {node["stage"]: node for node in body["nodes"]}
    assert {stage: node["display_status"] for stage, node in nodes.items()} == {
        "top": "completed", "left": "failed", "right": "claimed", "join": "waiting",
    }  # fmt: skip
    assert nodes["join"]["reason"] == "waits for 2 of 2: left (failed), right (claimed)"
    assert nodes["left"]["reason"] == "no space left"
    by_id = {node["task_id"]: stage for stage, node in nodes.items()}
    edges = {(by_id[edge["parent"]], by_id[edge["child"]]) for edge in body["edges"]}
    assert edges == {("top", "left"), ("top", "right"), ("left", "join"), ("right", "join")}
    assert (body["state"], body["trouble"]["stage"]) == ("running", "left")
    assert body["blocked"] == [nodes["join"]["task_id"]]


def test_a_join_tells_how_many_are_enough_and_from_when(operator, worker):
    run = begin(fan(3, Join(quorum=2, deadline_sec=600)))
    deadline = task_of(run, "mosaic").join_deadline_at
    (mosaic,) = [node for node in operator.get(f"runs/{run.run_id}").body["nodes"] if node["stage"] == "mosaic"]
    assert "waits for 3 of 3: image (3 pending); 2 must complete from " in mosaic["reason"]
    assert f"{deadline:%Y-%m-%dT%H:%M:%S}" in mosaic["reason"]


def test_tasks_of_other_runs_at_the_end_of_an_edge_are_shown_apart(operator, worker):
    first = begin(linear())
    solve = task_of(first, "measure")
    second = begin(RunPlan("target").stage("apply", "note", params=HELLO, depends_on=[solve.task_id]))
    body = operator.get(f"runs/{second.run_id}").body
    assert [(node["stage"], node["run_id"]) for node in body["outside"]] == [("measure", str(first.run_id))]
    assert body["nodes"][0]["reason"] == "waits for 1 of 1: measure (waiting)"
    assert [node["stage"] for node in operator.get(f"runs/{first.run_id}").body["outside"]] == ["apply"]


def test_cancel_and_retry_by_post_with_a_look_ahead(operator, worker):
    run = begin(diamond())
    finish(claim_all(worker)["top"])
    left = claim_all(worker)["left"]
    look = operator.post(f"runs/{run.run_id}/cancel", {"dry_run": True})
    assert (look.status_code, look.body["counts"]) == (200, {"cancelled": 1, "stopping": 2, "finished": 1})
    assert look.body["run"]["cancelled"] == 0
    done = operator.post(f"runs/{run.run_id}/cancel", {"reason": "wrong field"})
    assert (done.status_code, done.body["run"]["reason"]) == (202, "2 tasks asked to stop")
    event = TaskEvent.objects.get(event_type="run_cancelled")
    assert (event.actor, event.reason) == ("key:ingest", "wrong field")
    refused = operator.post(f"runs/{run.run_id}/retry")
    assert (refused.status_code, refused.body["code"]) == (409, "operation_refused")
    break_(left, "killed")
    break_(next(iter(claim_stopped(run))), "killed")
    again = operator.post(f"runs/{run.run_id}/retry", {"reason": "right field"})
    assert (again.status_code, again.body["counts"]["retried"]) == (200, 3)
    finish_all(worker)
    again = operator.post(f"runs/{run.run_id}/retry", {"from_stage": "join", "dry_run": True})
    assert again.body["counts"] == {"retried": 0, "revived": 0, "respawned": 1, "left": 0}
    assert operator.get(f"runs/{run.run_id}").body["state"] == "completed"


def claim_stopped(run):
    from tasks_app.engine.claim import Claim

    for task in Task.objects.filter(run=run, status="claimed"):
        yield Claim(
            task_id=task.task_id, claim_token=task.claim_token, attempt=1, task_name="note", queue_name=task.queue_id,
            params={}, timeout_sec=1, lease_sec=1, memory_gb=1, cores=1, worker_label="worker-1",
        )  # fmt: skip


def test_what_is_wrong_is_told(operator):
    run = begin(linear())
    assert operator.get("runs/nonsense").status_code == 404
    assert operator.get("runs/00000000-0000-0000-0000-000000000000").body["code"] == "run_not_found"
    assert operator.post(f"runs/{run.run_id}/retry").status_code == 409
    bad = operator.post(f"runs/{run.run_id}/retry", {"from_stage": "imaging"})
    assert (bad.status_code, bad.body["errors"][0]["path"]) == (422, "from_stage")
    assert operator.post(f"runs/{run.run_id}/cancel", {"why": "x"}).status_code == 422


def test_a_reader_may_look_but_not_touch(worker):
    reader = Caller(make_key("read", "spawn"))
    run = begin(linear())
    assert reader.get(f"runs/{run.run_id}").status_code == 200
    assert reader.post(f"runs/{run.run_id}/cancel").status_code == 403
    assert reader.post(f"runs/{run.run_id}/retry").status_code == 403
    assert Caller().get("runs").status_code == 401
    assert set(Task.objects.values_list("status", flat=True)) == {"pending"}


def test_a_run_without_tasks_is_shown(operator):
    run = Run.objects.create(workflow="empty")
    assert operator.get(f"runs/{run.run_id}").body["nodes"] == []
