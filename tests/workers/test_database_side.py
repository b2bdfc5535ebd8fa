"""What the worker asks of the database, without a process: delivery, cleanup, which spare to warm."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import OperationalError
from django.db.models import F

from tasks_app.engine.claim import Claim, claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import AttemptReport, fail_attempt
from tasks_app.engine.lease import note_stop, renew_leases, report_progress, start_attempt
from tasks_app.errors import LostClaim
from tasks_app.models import Queue, Task, TaskStatus, Worker
from tests.tasks_app.notes import make_worker
from tests.workers.live import claim_for, event_types, outcomes, spawn_one
from workers import cleanup
from workers.admission import is_exhausted
from workers.outcome_writer import deliver
from workers.process import publication, resources
from workers.process.outcome import Outcome
from workers.process.prewarmed import IDLE_SEC, Kind, kind_used_last
from workers.process.protocol import Result
from workers.process.supervisor import ProcessExecution

pytestmark = pytest.mark.django_db

DONE = Outcome(failure_class=None, result=Result(result={"value": 1}))


@pytest.fixture
def worker(tmp_path, settings) -> Worker:
    settings.ABSURD_VAR = tmp_path
    return make_worker(memory_gb=16.0)


def ended(worker: Worker, root: Path, outcome: Outcome = DONE) -> ProcessExecution:
    """Return an execution whose child has written an output and ended."""
    (claim,) = claim_tasks(worker, limit=1)
    execution = ProcessExecution(claim, root=root, host_memory_gb=16.0)
    publication.prepare(claim, execution.places)
    (execution.places.products_dir / "image.fits").write_text("pixels")
    execution.outcome = outcome
    return execution


def steal(claim: Claim) -> None:
    """Let somebody else claim the task."""
    Task.objects.filter(task_id=claim.task_id).update(claim_token=uuid4(), claim_epoch=2)


@pytest.mark.parametrize("write", ["complete", "fail", "progress", "start", "stop", "renew"])
def test_a_stale_claim_token_changes_nothing_and_leaves_a_refusal(worker, write):
    task = spawn_one("echo")
    (claim,) = claim_tasks(worker, limit=1)
    steal(claim)
    late = {
        "complete": lambda: complete_task(claim, {}, AttemptReport()),
        "fail": lambda: fail_attempt(claim, "error", "late", AttemptReport()),
        "progress": lambda: report_progress(claim, fraction=0.5, message="late"),
        "stop": lambda: note_stop(claim, failure_class="timeout", reason="", asked_ago_sec=0, takes_sec=1),
        "start": lambda: start_attempt(claim, directory="/late", log_path="/late"),
    }
    before = Task.objects.values().get(pk=task.pk)
    if write == "renew":
        assert renew_leases([claim]).lost == {claim.task_id}
    else:
        with pytest.raises(LostClaim):
            late[write]()
    assert Task.objects.values().get(pk=task.pk) == before
    assert event_types(task.task_id)[-1] == "refused"


def test_a_refused_result_is_withdrawn_from_where_it_was_published(worker, tmp_path):
    spawn_one("echo")
    execution = ended(worker, tmp_path)
    steal(execution.claim)
    assert deliver(execution)
    assert not execution.places.published_dir.exists()


def test_a_commit_whose_answer_was_lost_is_not_taken_for_a_refusal(worker, tmp_path, monkeypatch):
    task = spawn_one("echo")
    execution = ended(worker, tmp_path)
    complete = complete_task

    def commits_and_dies(*args, **options):
        complete(*args, **options)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr("workers.outcome_writer.complete_task", commits_and_dies)
    with pytest.raises(OperationalError):
        deliver(execution)
    assert deliver(execution)
    assert (execution.places.published_dir / "image.fits").read_text() == "pixels"
    assert event_types(task.task_id) == ["spawned", "claimed", "completed"]


def test_a_result_that_cannot_be_recorded_fails_the_attempt_with_the_reason(worker, tmp_path):
    task = spawn_one("echo", max_retries=0)
    execution = ended(worker, tmp_path)
    execution._peak_rss_bytes = 2**70
    while not deliver(execution):
        pass
    task.refresh_from_db()
    assert (task.status, task.failure_class) == (TaskStatus.FAILED, "error")
    assert "could not be recorded" in task.error
    assert not execution.places.published_dir.exists()


def test_the_workers_of_one_host_share_its_memory(worker):
    for _ in range(8):
        task = spawn_one("echo")
        Task.objects.filter(pk=task.pk).update(memory_gb=6.0)
    neighbour = make_worker(memory_gb=16.0)
    elsewhere = make_worker(memory_gb=16.0, host_id="another host")
    assert [len(claim_for(each, 4)) for each in (worker, neighbour, elsewhere)] == [2, 0, 2]


def test_each_attempt_may_take_twice_the_memory_of_the_last_up_to_the_hosts_share(worker):
    spawn_one("echo")
    (claim,) = claim_tasks(worker, limit=1)
    sizes = [
        resources.ceiling_gb(replace(claim, memory_gb=3.0, attempt=attempt), host_gb)
        for attempt, host_gb in ((1, 18.0), (2, 18.0), (3, 18.0), (1, 2.0))
    ]
    assert sizes == [6.0, 12.0, 18.0, 3.0]


def test_a_small_task_passes_a_big_one_that_does_not_fit_now(worker):
    for memory_gb in (14.0, 14.0, 0.5):
        task = spawn_one("echo")
        Task.objects.filter(pk=task.pk).update(memory_gb=memory_gb)
    assert [claim.memory_gb for claim in claim_for(worker, 3)] == [14.0, 0.5]


def test_a_burst_waits_for_retries_and_claims_but_not_for_what_may_wait_for_ever(worker):
    parent = spawn_one("fail")
    spawn_one("echo", depends_on=[parent.task_id])
    assert not is_exhausted(worker)
    (claim,) = claim_tasks(worker, limit=1)
    assert not is_exhausted(worker)
    fail_attempt(claim, "error", "first try", AttemptReport())
    assert not is_exhausted(worker)
    Task.objects.filter(pk=parent.pk).update(hold=0, max_retries=0)
    (claim,) = claim_tasks(worker, limit=1)
    fail_attempt(claim, "error", "last try", AttemptReport())
    assert outcomes(parent) == ["error", "error"]
    assert is_exhausted(worker)


def test_old_directories_of_ended_attempts_go_and_those_of_others_stay(worker, tmp_path):
    spawn_one("echo"), spawn_one("echo"), spawn_one("echo")
    crashed, running, strange = (ended(worker, tmp_path) for _ in range(3))
    publication.publish(crashed.places)  # and then the worker died, before its transaction
    fail_attempt(crashed.claim, "lost", "the worker died", AttemptReport())
    stranger = (strange.places.attempt_dir / publication.NOTE).read_text()
    foreign = stranger.replace(str(strange.claim.claim_token), str(uuid4()))
    (strange.places.attempt_dir / publication.NOTE).write_text(foreign)
    for execution in (crashed, running, strange):
        long_ago = time.time() - 2 * cleanup.OLD_AFTER_SEC
        os.utime(execution.places.attempt_dir / publication.NOTE, (long_ago, long_ago))
    removed = cleanup.sweep(tmp_path, kept=1)
    assert removed == [crashed.places.published_dir]
    removed += cleanup.sweep(tmp_path, kept=0)
    assert set(removed) == {crashed.places.attempt_dir, crashed.places.published_dir}
    deadline = time.monotonic() + 10
    while any(directory.exists() for directory in removed) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(directory.exists() for directory in removed)
    assert running.places.attempt_dir.exists() and strange.places.attempt_dir.exists()


def test_a_name_in_the_params_names_the_published_directory_unless_it_would_lead_elsewhere(worker, tmp_path):
    spawn_one("echo"), spawn_one("echo")
    stems = []
    for name in ("2026-10-01T06:00:00", "../../etc"):
        (claim,) = claim_tasks(worker, limit=1)
        claim.params["name"] = name
        stems.append(publication.places_of(claim, tmp_path).published_dir)
    token8 = str(claim.claim_token)[:8]
    assert stems[0].name.startswith("2026-10-01T06:00:00.")
    assert stems[1] == tmp_path / "echo" / f"{str(claim.task_id)[-8:]}.{token8}"


def test_a_task_too_big_for_the_whole_host_holds_up_no_other(worker):
    worker.memory_gb = 10.0
    worker.save()
    sizes = [12.0, 1.0, 9.5]
    tasks = [spawn_one("echo") for _ in sizes]
    for task, size_gb in zip(tasks, sizes, strict=True):
        Task.objects.filter(pk=task.pk).update(memory_gb=size_gb)
    (claim,) = claim_for(worker, 5)
    assert claim.task_id == tasks[1].task_id


def test_a_note_that_names_a_place_that_was_never_the_attempts_removes_nothing(worker, tmp_path):
    spawn_one("echo")
    execution = ended(worker, tmp_path)
    fail_attempt(execution.claim, "lost", "the worker died", AttemptReport())
    victim = tmp_path / "echo" / "good.12345678"
    victim.mkdir(parents=True)
    note = execution.places.attempt_dir / publication.NOTE
    note.write_text(note.read_text().replace(str(execution.places.published_dir), str(victim)))
    assert cleanup.sweep(tmp_path, old_after_sec=0, kept=0) == []


QUEUE = "dsa110-pipeline"
CASA = Kind(module="pipeline_app.casa.warm", cores=1)


def done(task: Task) -> None:
    (claim,) = claim_for(make_worker(memory_gb=16.0), 1)
    assert claim.task_id == task.task_id
    complete_task(claim, {}, AttemptReport())


def test_a_fresh_system_and_one_that_runs_other_things_expect_nothing():
    assert kind_used_last([QUEUE]) is None
    done(spawn_one("echo"))
    spawn_one("echo")
    assert kind_used_last([QUEUE]) is None


def test_what_waits_or_runs_or_has_just_ended_is_expected_again(django_assert_max_num_queries):
    task = spawn_one("casa-trial")
    assert kind_used_last([QUEUE]) == CASA
    (claim,) = claim_for(make_worker(memory_gb=16.0), 1)
    assert kind_used_last([QUEUE]) == CASA
    complete_task(claim, {}, AttemptReport())
    with django_assert_max_num_queries(3):
        assert kind_used_last([QUEUE]) == CASA
    Task.objects.filter(pk=task.pk).update(completed_at=F("completed_at") - timedelta(seconds=IDLE_SEC + 1))
    assert kind_used_last([QUEUE]) is None


def test_what_another_queue_ran_is_none_of_its_business():
    Queue.objects.create(name="another")
    task = spawn_one("casa-trial", queue_name="another")
    assert kind_used_last([QUEUE]) is None
    assert kind_used_last([QUEUE, "another"]) == CASA
    (claim,) = claim_for(make_worker(memory_gb=16.0, queues=["another"]), 1)
    complete_task(claim, {}, AttemptReport())
    assert task.task_id == claim.task_id
    assert kind_used_last([QUEUE]) is None
    assert kind_used_last([QUEUE, "another"]) == CASA
