"""Random histories of everything that may happen to tasks, on a moving clock; the rules must hold after every step."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings as django_settings
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tasks_app.engine.claim import Claim, claim_tasks
from tasks_app.engine.complete import Completion, complete_task, complete_tasks
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.lease import renew_leases, report_progress
from tasks_app.engine.move import LEGAL, admit
from tasks_app.engine.options import Join
from tasks_app.errors import InvalidTransition, LostClaim
from tasks_app.maintenance import sweeper
from tasks_app.models import Attempt, Limit, LimitSlot, Task, TaskDependency, TaskEvent, Worker
from tasks_app.models.task import FINISHED, FailureClass
from tasks_app.monitoring import queues
from tasks_app.operations.tasks import cancel, reprioritize, retry
from tests.tasks_app.notes import REPORT, make_worker, spawn_note

LEASE_SEC = 2
CHOICE = st.integers(0, 10**6)


class Machine(RuleBasedStateMachine):
    """Two workers that may believe in claims they have lost, an operator, and the sweeps."""

    @initialize()
    def begin(self) -> None:
        self.scope = transaction.atomic()
        self.scope.__enter__()
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.tick(0)
        self.workers: list[Worker] = [make_worker(label="worker-1"), make_worker(label="worker-2")]
        self.tasks: list[Task] = []
        self.claims: list[Claim] = []

    def teardown(self) -> None:
        if hasattr(self, "scope"):
            self.drain()
            transaction.set_rollback(True)
            self.scope.__exit__(None, None, None)

    @rule(seconds=st.sampled_from([0, 1, 5, 400]))
    def tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('absurd.now', %s, true)", [self.now.isoformat()])

    @rule(
        retries=st.integers(0, 2),
        priority=st.integers(1, 20),
        key=st.sampled_from(["", "", "a"]),
        parents=st.lists(CHOICE, max_size=3),
        quorum=st.booleans(),
        total_timeout_sec=st.sampled_from([None, None, 300.0]),
        queue_timeout_sec=st.sampled_from([None, None, 100.0]),
    )
    def spawn(self, retries, priority, key, parents, quorum, total_timeout_sec, queue_timeout_sec) -> None:
        above = {self.tasks[choice % len(self.tasks)].task_id for choice in parents if self.tasks}
        task = spawn_note(
            max_retries=retries,
            priority=priority,
            concurrency_key=key,
            depends_on=sorted(above),
            join=Join(quorum=1, deadline_sec=30.0) if quorum and above else None,
            total_timeout_sec=total_timeout_sec,
            queue_timeout_sec=queue_timeout_sec,
        )
        self.tasks.append(task)

    @rule(who=st.integers(0, 1), limit=st.integers(1, 3))
    def claim(self, who: int, limit: int) -> None:
        self.claims += claim_tasks(self.workers[who], limit=limit)

    def fenced(self, claim: Claim, write) -> None:
        """Do a worker's write; one with a stale token must be refused and change nothing."""
        before = Task.objects.filter(task_id=claim.task_id).values().get()
        holds = before["claim_token"] == claim.claim_token
        try:
            write(claim)
            assert holds
        except LostClaim:
            assert not holds
            assert Task.objects.filter(task_id=claim.task_id).values().get() == before

    @precondition(lambda self: self.claims)
    @rule(choice=CHOICE)
    def renew(self, choice: int) -> None:
        claim = self.claims[choice % len(self.claims)]
        before = Task.objects.filter(task_id=claim.task_id).values().get()
        renewal = renew_leases([claim])
        if before["claim_token"] == claim.claim_token:
            assert renewal.held == {claim.task_id}
        else:
            assert renewal.lost == {claim.task_id}
            assert Task.objects.filter(task_id=claim.task_id).values().get() == before

    @precondition(lambda self: self.claims)
    @rule(choice=CHOICE)
    def report_progress(self, choice: int) -> None:
        self.fenced(
            self.claims[choice % len(self.claims)],
            lambda claim: report_progress(claim, fraction=0.5, message="half"),
        )

    @precondition(lambda self: self.claims)
    @rule(choice=CHOICE)
    def complete(self, choice: int) -> None:
        self.fenced(self.claims[choice % len(self.claims)], lambda claim: complete_task(claim, {"n": 1}, REPORT))

    @precondition(lambda self: self.claims)
    @rule(choices=st.lists(CHOICE, min_size=1, max_size=4))
    def complete_together(self, choices: list[int]) -> None:
        chosen = {claim.claim_token: claim for claim in (self.claims[n % len(self.claims)] for n in choices)}
        held = set(Task.objects.filter(claim_token__in=chosen).values_list("claim_token", flat=True))
        refused = complete_tasks([Completion(claim=c, result={"n": 2}) for c in chosen.values()])
        assert refused == {claim.task_id for token, claim in chosen.items() if token not in held}

    @precondition(lambda self: self.claims)
    @rule(choice=CHOICE, failure_class=st.sampled_from(FailureClass.values))
    def fail(self, choice: int, failure_class: str) -> None:
        self.fenced(
            self.claims[choice % len(self.claims)],
            lambda claim: fail_attempt(claim, failure_class, "boom", REPORT),
        )

    def operate(self, choice: int, operation) -> None:
        """Do an operator's operation; where the table has no such move it must say so."""
        task = self.tasks[choice % len(self.tasks)]
        before = Task.objects.filter(pk=task.pk).values().get()
        try:
            operation(task.task_id)
        except InvalidTransition as refusal:
            assert refusal.current == before["status"]
            assert Task.objects.filter(pk=task.pk).values().get() == before

    @precondition(lambda self: self.tasks)
    @rule(choice=CHOICE)
    def cancel(self, choice: int) -> None:
        self.operate(choice, lambda task_id: cancel(task_id, actor="user:test"))

    @precondition(lambda self: self.tasks)
    @rule(choice=CHOICE)
    def retry(self, choice: int) -> None:
        self.operate(choice, lambda task_id: retry(task_id, actor="user:test"))

    @precondition(lambda self: self.tasks)
    @rule(choice=CHOICE, priority=st.integers(1, 20))
    def reprioritize(self, choice: int, priority: int) -> None:
        self.operate(choice, lambda task_id: reprioritize(task_id, priority=priority, actor="user:test"))

    @rule()
    def sweep(self) -> None:
        sweeper.release_due()
        sweeper.fire_joins()
        sweeper.fail_overdue()
        sweeper.fail_past_deadline()
        sweeper.return_lost(watched_sec=60.0)
        admit()

    @invariant()
    def rows_agree_with_events_and_attempts(self) -> None:
        for task in Task.objects.all():
            status, moves = "", TaskEvent.objects.filter(task_id=task.task_id).order_by("id")
            for move in moves:
                if move.event_type == "spawned":
                    status = move.to_status
                elif move.from_status:
                    assert (move.from_status, move.to_status) in LEGAL
                    assert move.from_status == status
                    status = move.to_status
            assert status == task.status
            attempts = Attempt.objects.filter(task_id=task.task_id)
            assert attempts.count() == task.claim_epoch
            assert attempts.filter(ended_at=None).count() == (task.status == "claimed")
            assert (task.completed_at is not None) == (task.status in FINISHED)
            assert 0 <= task.retry_count <= task.max_retries
            assert 0 <= task.crash_count <= 3

    @invariant()
    def slots_are_those_of_claimed_tasks(self) -> None:
        claimed = set(
            Task.objects.filter(status="claimed").exclude(concurrency_key="").values_list("task_id", flat=True)
        )
        taken = list(LimitSlot.objects.filter(task_id__isnull=False).values_list("task_id", flat=True))
        assert set(taken) == claimed
        assert len(taken) <= sum(Limit.objects.values_list("size", flat=True))

    @invariant()
    def counts_equal_a_recount(self) -> None:
        recount = Counter(Task.objects.values_list("status", flat=True))
        output = queues.queue_stats()
        assert sum(each["total"] for each in output) == recount.total()
        for status, number in recount.items():
            assert sum(each[status] for each in output) == number  # type: ignore[literal-required]

    def drain(self) -> None:
        """Whatever happened, with time and a worker every task ends or waits for one that failed or was cancelled."""
        for _ in range(60):
            self.tick(700)
            self.sweep()
            for claim in claim_tasks(self.workers[0], limit=50):
                complete_task(claim, {}, REPORT)
        ended = set(Task.objects.filter(status__in=FINISHED).values_list("task_id", flat=True))
        for task in Task.objects.exclude(status__in=FINISHED):
            assert task.display_status == "waiting"
            parents = TaskDependency.objects.filter(child_task_id=task.task_id).values("parent_task_id")
            assert Task.objects.filter(task_id__in=parents).exclude(status="completed").exists()
        assert len(ended) + Task.objects.filter(status="pending").count() == len(self.tasks)


@pytest.mark.django_db
def test_every_history_keeps_the_rules(monkeypatch):
    monkeypatch.setattr(django_settings, "ABSURD_LEASE_SEC", LEASE_SEC)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.django_db
def test_the_database_refuses_a_claim_without_its_token():
    task = spawn_note()
    with pytest.raises(IntegrityError, match="task_claim_is_whole"):
        Task.objects.filter(pk=task.pk).update(status="claimed")


@pytest.mark.django_db
def test_the_database_keeps_a_task_that_crashed_three_times_out_of_the_queue():
    task = spawn_note()
    with pytest.raises(IntegrityError, match="task_quarantine_holds"):
        Task.objects.filter(pk=task.pk).update(crash_count=3)
