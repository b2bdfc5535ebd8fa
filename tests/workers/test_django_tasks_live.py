"""Django tasks on a real worker: in its threads, with Django and the database at hand."""

from __future__ import annotations

import pytest
from django_tasks import TaskResultStatus

from tests.tasks_app.django_tasks_backend import django_functions as functions
from tests.workers.live import LiveWorkers

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_worker_runs_djangos_tasks(workers: LiveWorkers):
    added, awaited = functions.add.enqueue(1, right=2), functions.add_later.enqueue(3, 4)
    counted, introduced = functions.count_queues.enqueue(), functions.who_am_i.enqueue("hello")
    failed, skipped = functions.fail.enqueue("boom"), functions.fail_strangely.enqueue("no_work")
    workers.burst("--concurrency", "3")
    for result in (added, awaited, counted, introduced, failed, skipped):
        result.refresh()
    assert (added.return_value, awaited.return_value, counted.return_value) == (3, 7, 1)
    assert introduced.return_value["workers"] == introduced.worker_ids == ["worker-1"]
    assert (skipped.status, skipped.return_value) == (TaskResultStatus.SUCCESSFUL, None)
    assert (failed.status, failed.attempts) == (TaskResultStatus.FAILED, 1)
    assert failed.errors[0].exception_class is functions.Broken
    assert failed.errors[0].traceback.endswith("django_functions.Broken: boom\n")
