"""Runs of notes in the shapes that tests need, and short ways to move their tasks."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection

from tasks_app.engine.claim import Claim, claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.options import Join
from tasks_app.models import Run, Task, Worker
from tasks_app.operations.runs import start
from tasks_app.postgresql import clock
from tasks_app.workflows.plan import All, One, RunPlan
from tasks_app.workflows.state import RunState, state_of
from tests.tasks_app.notes import REPORT

ACTOR = "user:test"
HELLO = {"text": "hello"}


def linear(**options: object) -> RunPlan:
    return (
        RunPlan("linear", label="tile")
        .stage("convert", "note", params={"text": "raw"}, **options)
        .stage("image", "note", bindings={"text": One("convert", "title")}, **options)
        .stage("measure", "note", bindings={"text": One("image", "title")}, **options)
    )


def diamond() -> RunPlan:
    return (
        RunPlan("diamond")
        .stage("join", "note", params=HELLO, after=["left", "right"])
        .stage("left", "note", params=HELLO, after=["top"])
        .stage("right", "note", params=HELLO, after=["top"])
        .stage("top", "note", params=HELLO)
    )


def fan(n: int = 12, join: Join | None = None) -> RunPlan:
    return (
        RunPlan("mosaic", label="2025-11-18")
        .stage("image", "note", fan_out=[{"text": str(place)} for place in range(n)], max_retries=0)
        .stage("mosaic", "gather", bindings={"titles": All("image", "title")}, join=join)
    )


def begin(plan: RunPlan) -> Run:
    return start(plan, ACTOR)


def claim_all(worker: Worker) -> dict[str, Claim]:
    """Claim what there is; the claims by stage, the last of each."""
    claims = claim_tasks(worker, limit=100)
    stages = dict(Task.objects.values_list("task_id", "stage"))
    return {stages[claim.task_id]: claim for claim in claims}


def finish(claim: Claim, title: str = "done") -> None:
    complete_task(claim, {"title": title}, REPORT)


def break_(claim: Claim, failure_class: str = "invalid", message: str = "boom") -> None:
    fail_attempt(claim, failure_class, message, REPORT)


def finish_all(worker: Worker) -> list[str]:
    """Complete everything that can be claimed until nothing can; the stages in the order of their claims."""
    order = []
    while claims := claim_tasks(worker, limit=100):
        for claim in claims:
            order.append(Task.objects.get(task_id=claim.task_id).stage)
            finish(claim)
    return order


def state(run: Run) -> RunState:
    return state_of(run)


def task_of(run: Run, stage: str) -> Task:
    return Task.objects.get(run=run, stage=stage)


def pass_time(seconds: float) -> None:
    """Let the database's clock, as this session sees it, go on."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('absurd.now', %s, true)", [str(clock.now() + timedelta(seconds=seconds))])
