"""A disk that fills: reported as such, before it is full where that can be."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks_app.models import Task
from tasks_app.operations.tasks import cancel
from tests.workers.live import attempts, finished, outcomes, spawn_one, wait_for

pytestmark = pytest.mark.chaos
MEMORY_DISK = Path("/dev/shm")


@pytest.fixture
def memory_disk(workers) -> Iterator[Path]:
    """Yield a data root on a file system that no other test fills."""
    root = Path(tempfile.mkdtemp(dir=MEMORY_DISK))
    workers.environment["ABSURD_DATA_ROOTS"] = str(root)
    yield root
    workers.kill_all()
    shutil.rmtree(root)


def test_below_the_floor_the_attempt_that_wrote_most_is_stopped_and_nothing_is_claimed(workers, memory_disk):
    floor_gb = shutil.disk_usage(memory_disk).free / 1e9 - 0.25
    modest = spawn_one("sleep", {"seconds": 8})
    greedy = spawn_one("fill-disk", {"write_gb": 0.4, "then_sleep_sec": 60}, max_retries=0)
    workers.start("--concurrency", "2", ABSURD_DISK_FLOOR_GB=f"{floor_gb:.3f}")
    wait_for(lambda: outcomes(greedy) == ["unavailable"])
    (attempt,) = attempts(greedy)
    greedy.refresh_from_db()
    assert (greedy.status, greedy.retry_count) == ("pending", 0)
    cancel(greedy.task_id, actor="user:test")
    assert greedy.error.startswith("disk full: ") and "ABSURD_DISK_FLOOR_GB" in greedy.error
    assert "in fill_disk" in attempt.stack
    wait_for(lambda: not Path(attempt.directory).exists())  # its outputs too: they are what fills the disk
    assert finished(modest).status == "completed"
    wait_for(lambda: "tasks are claimed again" in workers.logs())
    assert finished(spawn_one("echo")).status == "completed"


def test_a_worker_claims_nothing_while_the_disk_is_full(workers, memory_disk):
    task = spawn_one("echo")
    worker = workers.start(ABSURD_DISK_FLOOR_GB="1000000")
    wait_for(lambda: "nothing is claimed until more is free" in workers.logs())
    assert worker.poll() is None
    assert Task.objects.get(pk=task.pk).claim_epoch == 0


def test_an_attempt_that_meets_a_full_disk_says_which_and_how_much_is_free(workers):
    task = spawn_one("fill-disk", {"full_device": True}, max_retries=0)
    workers.burst()
    task.refresh_from_db()
    assert (task.status, task.failure_class, outcomes(task)) == ("pending", "unavailable", ["unavailable"])
    assert task.error.startswith("disk full: OSError: [Errno 28] No space left on device (")
    assert " GB free on /" in task.error
