"""Explanations against the claim itself, over random queues, workers, limits and histories.

A task is called blocked exactly if no claim would return it, were it the first in line; and whatever is not called
blocked is claimed when others have had their turn.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks_app.engine import registry
from tasks_app.engine.claim import Claim
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn
from tasks_app.maintenance.sweeper import Sweeper
from tasks_app.models import Limit, Queue, Reservation, Task, Worker
from tasks_app.monitoring.explain.explanation import explain
from tasks_app.monitoring.explain.findings import Code
from tasks_app.operations.queues import pause, set_limit
from tasks_app.operations.system import freeze
from tasks_app.postgresql import clock
from tests.tasks_app.monitoring.explain.explained import ready_worker
from tests.tasks_app.notes import NOTE, REPORT
from tests.workers.live import claim_for

pytestmark = pytest.mark.django_db

QUEUES = ("alpha", "beta")
SIZES_GB = (1.0, 1.0, 2.0, 3.0, 4.0, 16.0)
ROUNDS = 40

some_workers = st.lists(
    st.fixed_dictionaries(
        {
            "queues": st.sampled_from([["alpha"], ["beta"], ["alpha", "beta"]]),
            "memory_gb": st.sampled_from([2.0, 4.0, 8.0]),
            "host_id": st.sampled_from(["north", "south"]),
            "concurrency": st.integers(1, 3),
            "fate": st.sampled_from(["live", "live", "live", "draining", "silent", "stopped"]),
        }
    ),
    min_size=1,
    max_size=3,
)
some_tasks = st.lists(
    st.fixed_dictionaries(
        {
            "queue_name": st.sampled_from(QUEUES),
            "priority": st.sampled_from([1, 5, 5, 15]),
            "size_gb": st.sampled_from(SIZES_GB),
            "concurrency_key": st.sampled_from(["", "", "disk"]),
            "delay_sec": st.sampled_from([0, 0, 0, 60]),
            "waits_for": st.sampled_from([None, None, None, 1, 2]),
        }
    ),
    min_size=1,
    max_size=7,
)
some_limits = st.dictionaries(st.sampled_from([("queue", "alpha"), ("key", "disk")]), st.integers(1, 2), max_size=2)
ACTS = ["claim", "complete", "fail", "invalid", "drain", "sweep", "reserve"]
some_history = st.lists(st.sampled_from(ACTS), max_size=6)

plain_task = {"queue_name": "alpha", "priority": 5, "concurrency_key": "", "delay_sec": 0, "waits_for": None}
plain_worker = {"queues": ["alpha"], "memory_gb": 4.0, "host_id": "north", "concurrency": 3, "fate": "live"}
nothing_else = {"limits": {}, "limits_first": True, "paused": None, "frozen": False}


def of_sizes(*sizes_gb: float) -> list[dict]:
    return [{**plain_task, "size_gb": size_gb} for size_gb in sizes_gb]


@pytest.fixture(autouse=True)
def sized_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    for size_gb in SIZES_GB:
        name = f"note-{size_gb:g}"
        monkeypatch.setitem(registry._specs, name, replace(NOTE, name=name, memory_gb=size_gb))


class World:
    """One random installation, and what its workers hold."""

    def __init__(self, workers: list[dict], tasks: list[dict]) -> None:
        self.fates: dict[UUID, str] = {}
        for number, plan in enumerate(workers):
            fate = plan["fate"]
            fields = {name: value for name, value in plan.items() if name != "fate"}
            worker = ready_worker(label=f"worker-{number}", host=plan["host_id"], **fields)
            self.fates[worker.pk] = fate
        self.claims: list[tuple[UUID, Claim]] = []
        made: list[Task] = []
        for plan in tasks:
            parents = made[-plan["waits_for"] :] if plan["waits_for"] else []
            request = TaskOptions(
                task_name=f"note-{plan['size_gb']:g}",
                params={"text": "a"},
                queue_name=plan["queue_name"],
                priority=plan["priority"],
                concurrency_key=plan["concurrency_key"],
                scheduled_at=clock.now() + timedelta(seconds=plan["delay_sec"]) if plan["delay_sec"] else None,
                depends_on=[parent.task_id for parent in parents],
                max_retries=1,
            )
            made.append(spawn(request, actor="user:test"))

    def claiming_workers(self) -> list[Worker]:
        """Return the workers that claim at all."""
        alive = clock.now() - timedelta(seconds=30)
        return list(Worker.objects.filter(stopped_at=None, draining=False, heartbeat_at__gte=alive).order_by("label"))

    def take(self) -> set[UUID]:
        """Let every worker that claims at all claim into its free slots."""
        taken = set()
        for worker in self.claiming_workers():
            mine = sum(1 for holder, _ in self.claims if holder == worker.pk)
            for claim in claim_for(worker, worker.concurrency - mine):
                self.claims.append((worker.pk, claim))
                taken.add(claim.task_id)
        return taken

    def reserve(self) -> None:
        """Have a host keep room for the first claimable task that nobody keeps room for.

        One under a limit would take a slot as well, which the trial of others could not tell from taken room.
        """
        limited = Limit.objects.filter(scope="queue").values("name")
        free = Task.objects.filter(status="pending", hold=0, concurrency_key="").exclude(queue__in=limited)
        free = free.exclude(task_id__in=Reservation.objects.values("task_id"))
        task, host_id = free.order_by("rank").first(), Worker.objects.values_list("host_id", flat=True).first()
        if task is not None and not Reservation.objects.filter(host_id=host_id).exists():
            Reservation.objects.create(host_id=host_id, task_id=task.task_id, memory_gb=task.memory_gb, cores=1)

    def would_take(self, task_id: UUID) -> bool:
        """Try whether some worker would claim the task now if it had a free slot and nothing came before it."""
        return any(self._would_take(worker, task_id) for worker in self.claiming_workers())

    def _would_take(self, worker: Worker, task_id: UUID) -> bool:
        savepoint = transaction.savepoint()
        Task.objects.filter(task_id=task_id).update(rank=-(2**62))
        # What room is kept for goes first, whatever its rank.
        taken = claim_for(worker, 2 if Reservation.objects.exists() else 1)
        transaction.savepoint_rollback(savepoint)
        return task_id in {claim.task_id for claim in taken}

    def do(self, act: str) -> None:
        """Let one thing happen."""
        if act == "claim":
            self.take()
        elif act == "reserve":
            self.reserve()
        elif act == "sweep":
            Sweeper().sweep()
        elif self.claims:
            _, claim = self.claims.pop(0)
            if act == "complete":
                complete_task(claim, {}, REPORT)
            else:
                fail_attempt(claim, {"fail": "error", "drain": "drained"}.get(act, act), "boom", REPORT)

    def let_fate_strike(self) -> None:
        """Drain, silence and stop the workers that are to be so; what they hold they keep."""
        for pk, fate in self.fates.items():
            changes = {
                "draining": {"draining": True},
                "silent": {"heartbeat_at": clock.now() - timedelta(hours=1)},
                "stopped": {"stopped_at": clock.now()},
            }
            Worker.objects.filter(pk=pk).update(**changes.get(fate, {"draining": False}))

    def finish_what_the_living_hold(self) -> None:
        """Complete the claims of all workers that are still there; a draining one finishes what it has, too."""
        kept = []
        for holder, claim in self.claims:
            if self.fates[holder] in ("live", "draining"):
                complete_task(claim, {}, REPORT)
            else:
                kept.append((holder, claim))
        self.claims = kept


def set_limits(limits: dict[tuple[str, str], int]) -> None:
    for (scope, name), size in limits.items():
        if scope == "queue":
            Queue.objects.get_or_create(name=name)
        set_limit(scope, name, size=size, actor="user:test")


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    workers=some_workers,
    tasks=some_tasks,
    limits=some_limits,
    limits_first=st.booleans(),
    history=some_history,
    paused=st.sampled_from([None, None, None, None, "alpha", "beta"]),
    frozen=st.sampled_from([False] * 7 + [True]),
)
@example(workers=[plain_worker], tasks=of_sizes(4.0, 1.0), history=["claim"], **nothing_else)
@example(workers=[{**plain_worker, "concurrency": 1}], tasks=of_sizes(1.0, 3.0), history=["claim"], **nothing_else)
@example(workers=[plain_worker], tasks=of_sizes(1.0), history=[], **{**nothing_else, "paused": "alpha"})
@example(workers=[plain_worker], tasks=of_sizes(1.0), history=[], **{**nothing_else, "frozen": True})
def test_exactly_what_no_claim_returns_is_called_blocked_and_all_else_gets_its_turn(
    workers, tasks, limits, limits_first, history, paused, frozen
):
    with transaction.atomic():
        if limits_first:
            set_limits(limits)
        world = World(workers, tasks)
        if not limits_first:
            set_limits(limits)
        for act in history:
            world.do(act)
        world.let_fate_strike()
        if paused and Queue.objects.filter(name=paused).exists():
            pause(paused, actor="user:olga", reason="test")
        if frozen:
            freeze(actor="user:olga", reason="test")
        output = {task.task_id: explain(task) for task in Task.objects.filter(status="pending")}
        for task_id, found in output.items():
            would, blocks = (
                world.would_take(task_id),
                {each.code for each in found.findings if each.severity == "blocking"},
            )
            # Room under a limit may come up while the claim itself sorts out who stands under which.
            if blocks != {Code.LIMIT_TURN}:
                assert would != bool(blocks), (would, found.summary)

        ready = {task_id for task_id, found in output.items() if not found.is_blocked}
        for _ in range(ROUNDS):
            if not ready:
                break
            ready -= world.take()
            world.finish_what_the_living_hold()
            Sweeper().sweep()
        left = {task_id: [each.code.value for each in output[task_id].findings] for task_id in ready}
        assert left == {}
        transaction.set_rollback(True)
