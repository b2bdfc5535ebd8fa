from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F

from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import AttemptReport
from tasks_app.models import Queue, Task
from tests.tasks_app.notes import make_worker
from tests.workers.live import claim_for, spawn_one
from workers.process.prewarmed import IDLE_SEC, Kind, kind_used_last

pytestmark = pytest.mark.django_db
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
