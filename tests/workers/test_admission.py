"""Room on a host, counted over all its workers: memory, cores, disk, and what is kept for a big task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tasks_app.engine import registry
from tasks_app.engine.claim import Claim
from tasks_app.engine.complete import complete_task
from tasks_app.engine.spawn import NewTask, spawn
from tasks_app.models import Reservation, Task
from tasks_app.postgresql import clock
from tests.tasks_app.notes import NOTE, REPORT, make_worker
from tests.workers.live import ROOT, claim_for
from workers.admission import Admission, free_disk_gb

pytestmark = pytest.mark.django_db
Spawn = Callable[..., Task]


@pytest.fixture
def sized(monkeypatch) -> Spawn:
    """Spawn a task of a name that declares so much, claimable since some seconds."""

    def of(*, memory_gb: float = 0.0, cores: int = 0, disk_gb: float = 0.0, since_sec: float = 0, **options) -> Task:
        name = f"sized-{memory_gb:g}-{cores}-{disk_gb:g}"
        spec = replace(NOTE, name=name, memory_gb=memory_gb, cores=cores, disk_gb=disk_gb)
        monkeypatch.setitem(registry._specs, name, spec)
        task = spawn(NewTask.of(task_name=name, params={"text": "a"}, **options), actor="user:test")
        Task.objects.filter(pk=task.pk).update(runnable_at=clock.now() - timedelta(seconds=since_sec))
        return task

    return of


def finish(claim: Claim) -> None:
    complete_task(claim, {}, REPORT)


def test_the_workers_of_one_host_share_its_cores(sized):
    for _ in range(6):
        sized(cores=2)
    first, second = (make_worker(memory_gb=8.0, cores=5) for _ in range(2))
    elsewhere = make_worker(memory_gb=8.0, cores=4, host_id="another host")
    assert [len(claim_for(each, 4)) for each in (first, second, elsewhere)] == [2, 0, 2]


def test_a_task_wider_than_the_host_runs_there_alone(sized):
    wide, narrow = sized(cores=16), sized(cores=1)
    worker = make_worker(memory_gb=8.0, cores=2)
    (claim,) = claim_for(worker, 4)
    assert claim.task_id == wide.task_id
    finish(claim)
    assert [claim.task_id for claim in claim_for(worker, 4)] == [narrow.task_id]


def test_a_wide_task_lets_narrow_ones_behind_it_pass(sized):
    worker = make_worker(memory_gb=8.0, cores=4)
    sized(cores=3)
    (running,) = claim_for(worker, 1)
    sized(cores=2)
    narrow, light = sized(cores=1), sized()
    assert {claim.task_id for claim in claim_for(worker, 4)} == {narrow.task_id, light.task_id}
    finish(running)


def test_a_task_that_needs_more_disk_than_is_free_waits_and_others_pass(sized):
    sized(disk_gb=1.0)  # from now on the disk is looked at
    free_gb = free_disk_gb(ROOT)
    sized(disk_gb=0.6 * free_gb), sized(disk_gb=0.6 * free_gb)
    small = sized()
    claims = claim_for(make_worker(memory_gb=8.0), 4)
    assert sorted(claim.disk_gb for claim in claims) == [0.0, 1.0, pytest.approx(0.6 * free_gb)]
    assert small.task_id in {claim.task_id for claim in claims}


def test_room_is_kept_for_a_big_task_that_has_waited_long(sized):
    worker = make_worker(memory_gb=10.0, cores=4)
    admission = Admission(ROOT)
    for _ in range(2):
        sized(memory_gb=4.0)
    running = admission.claim(worker, slots=4)
    big = sized(memory_gb=7.0, since_sec=61)
    Task.objects.filter(pk=big.pk).update(rank=0)
    admission._consider_at = 0.0
    assert admission.claim(worker, slots=4) == []
    kept = Reservation.objects.get()
    assert (kept.host_id, kept.task_id, kept.memory_gb) == (worker.host_id, big.task_id, 7.0)
    small = sized(memory_gb=1.0)
    finish(running[0])
    assert admission.claim(worker, slots=4) == []  # six are free, and the big one needs seven
    finish(running[1])
    assert {claim.task_id for claim in admission.claim(worker, slots=4)} == {big.task_id, small.task_id}
    assert not Reservation.objects.exists()


def test_smaller_tasks_run_beside_the_room_that_is_kept(sized):
    worker = make_worker(memory_gb=10.0, cores=4)
    big, other = sized(memory_gb=7.0), sized(memory_gb=6.0)
    Task.objects.filter(pk=big.pk).update(hold=1)
    (running,) = claim_for(worker, 1)
    assert running.task_id == other.task_id
    Task.objects.filter(pk=big.pk).update(hold=0)
    Reservation.objects.create(host_id=worker.host_id, task_id=big.task_id, memory_gb=7.0, cores=0)
    sized(memory_gb=2.0)
    assert claim_for(worker, 4) == []
    finish(running)
    assert [claim.memory_gb for claim in claim_for(worker, 4)] == [7.0, 2.0]


@pytest.mark.parametrize("fate", ["cancelled", "not served", "claimed elsewhere"])
def test_a_reservation_that_has_lost_its_sense_is_dropped(sized, fate):
    worker = make_worker(memory_gb=10.0, cores=4)
    big = sized(memory_gb=9.0, queue_name="big")
    Reservation.objects.create(host_id=worker.host_id, task_id=big.task_id, memory_gb=9.0, cores=0)
    if fate == "cancelled":
        Task.objects.filter(pk=big.pk).update(hold=1)
    elif fate == "claimed elsewhere":
        make_worker(memory_gb=10.0, queues=["big"])
        claim_for(make_worker(memory_gb=10.0, queues=["big"], host_id="another host"), 1)
    small = sized(memory_gb=4.0)
    assert [claim.task_id for claim in claim_for(worker, 4)] == [small.task_id]
    assert not Reservation.objects.filter(host_id=worker.host_id).exists()


def test_two_hosts_keep_room_for_two_different_tasks(sized):
    tasks = [sized(memory_gb=9.0, since_sec=100), sized(memory_gb=8.5, since_sec=90)]
    hosts = [make_worker(memory_gb=10.0, host_id=f"host {n}") for n in range(2)]
    for host in hosts:
        Task.objects.filter(task_id__in=[task.task_id for task in tasks]).update(hold=1)
        sized(memory_gb=4.0)
        assert len(claim_for(host, 1)) == 1
    Task.objects.update(hold=0)
    for host in hosts:
        assert Admission(ROOT).claim(host, slots=1) == []
    kept = {row.host_id: row.task_id for row in Reservation.objects.all()}
    assert kept == {"host 0": tasks[0].task_id, "host 1": tasks[1].task_id}
