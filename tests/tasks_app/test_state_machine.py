"""Random sequences of everything that may happen to tasks; the rules must hold after every step."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks_app import claiming, maintenance, transitions
from tasks_app.actions.cancel import cancel
from tasks_app.actions.reprioritize import reprioritize
from tasks_app.actions.retry import retry
from tasks_app.errors import InvalidTransition, LostClaim
from tasks_app.models import Attempt, Task, TaskEvent, Worker
from tasks_app.models.task import FINISHED, FailureClass
from tests.tasks_app.notes import REPORT, make_worker, spawn_note

STEPS = (
    "spawn",
    "spawn_child",
    "claim",
    "complete",
    "fail",
    "cancel",
    "retry",
    "reprioritize",
    "sweep",
    "due",
    "expire",
)


class Machine:
    """Tasks, the claims that some worker still believes in, and a worker to claim with."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.tasks: list[Task] = []
        self.claims: list[claiming.Claim] = []
        self.worker: Worker = make_worker()

    def step(self, name: str) -> None:
        task = self.random.choice(self.tasks) if self.tasks else None
        claim = self.random.choice(self.claims) if self.claims else None
        try:
            if name == "spawn":
                self.tasks.append(spawn_note(max_retries=self.random.randint(0, 2)))
            elif name == "claim":
                self.claims += claiming.claim(self.worker, limit=2)
            elif name == "sweep":
                maintenance.Sweeper().sweep()
            elif name == "due":
                Task.objects.filter(status="pending", hold=1).update(hold=0)
            elif name in ("complete", "fail") and claim:
                self.end(name, claim)
            elif task:
                self.act(name, task)
        except (InvalidTransition, LostClaim):
            pass

    def end(self, name: str, claim: claiming.Claim) -> None:
        if name == "complete":
            claiming.complete(claim, {"n": 1}, REPORT)
        else:
            claiming.fail(claim, self.random.choice(FailureClass.values), "boom", REPORT)

    def act(self, name: str, task: Task) -> None:
        if name == "spawn_child":
            self.tasks.append(spawn_note(depends_on=[task.task_id]))
        elif name == "cancel":
            cancel(task.task_id, actor="user:test")
        elif name == "retry":
            retry(task.task_id, actor="user:test")
        elif name == "reprioritize":
            reprioritize(task.task_id, self.random.randint(1, 20), actor="user:test")
        elif name == "expire":
            Task.objects.filter(pk=task.pk, status="claimed").update(lease_until="2000-01-01T00:00Z", lease_sec=0)
            maintenance.return_lost(watched_sec=1.0)

    def check(self) -> None:
        for task in Task.objects.all():
            moves = TaskEvent.objects.filter(task_id=task.task_id).exclude(from_status="").order_by("id")
            status = "pending"
            for move in moves.exclude(to_status=""):
                assert move.from_status == status
                assert (move.from_status, move.to_status) in transitions.LEGAL
                status = move.to_status
            assert status == task.status
            attempts = Attempt.objects.filter(task_id=task.task_id)
            assert attempts.count() == task.claim_epoch
            assert attempts.filter(ended_at=None).count() == (task.status == "claimed")
            assert (task.completed_at is not None) == (task.status in FINISHED)


@pytest.mark.django_db
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), steps=st.lists(st.sampled_from(STEPS), min_size=5, max_size=40))
def test_every_history_is_a_path_through_the_table(db, seed, steps):
    machine = Machine(seed)
    for name in ("spawn", *steps):
        machine.step(name)
    machine.check()
    Task.objects.all().delete()
    TaskEvent.objects.all().delete()


@pytest.mark.django_db
def test_the_database_refuses_a_claim_without_its_token():
    from django.db import IntegrityError

    task = spawn_note()
    with pytest.raises(IntegrityError, match="task_claim_is_whole"):
        Task.objects.filter(pk=task.pk).update(status="claimed")
