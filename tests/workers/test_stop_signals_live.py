"""Stop signals that reach all processes of a worker, as service managers and terminals send them."""

from __future__ import annotations

import signal

import psutil
import pytest

from tasks_app.models import Worker
from tests.workers.live import attempts, child_of, finished, gone, outcomes, spawn_one, wait_for, with_progress

pytestmark = pytest.mark.chaos


def charged(task) -> tuple[str, int, int]:
    task.refresh_from_db()
    return task.status, task.retry_count, task.crash_count


@pytest.mark.parametrize("first", ["worker", "children"])
def test_sigterm_to_every_process_returns_the_tasks_free_of_charge(workers, first):
    task = spawn_one("sleep", {"seconds": 300})
    worker = workers.start()
    with_progress(task)
    child = child_of(task)
    descendants = psutil.Process(worker.pid).children(recursive=True)
    everyone = [psutil.Process(worker.pid), *descendants]
    for process in everyone if first == "worker" else reversed(everyone):
        if process.pid == worker.pid and first == "children":
            wait_for(lambda: gone(child.pid))
        process.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert (charged(task), outcomes(task)) == (("pending", 0, 0), ["drained"])
    assert attempts(task)[0].error.startswith("a stop signal ended it with its worker")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_sighup_and_sigint_to_every_process_let_the_attempts_finish(workers, number):
    task = spawn_one("sleep", {"seconds": 4})
    worker = workers.start("--concurrency", "1")
    with_progress(task)
    later = spawn_one("echo")
    for process in [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]:
        process.send_signal(number)
    assert worker.wait(60) == 0
    assert (finished(task).status, outcomes(task)) == ("completed", ["completed"])
    assert charged(later) == ("pending", 0, 0)


def test_sigterm_to_a_child_alone_is_a_kill(workers):
    task = spawn_one("sleep", {"seconds": 300}, max_retries=0)
    worker = workers.start()
    with_progress(task)
    child_of(task).send_signal(signal.SIGTERM)
    assert (finished(task).failure_class, task.crash_count) == ("killed", 1)
    assert task.error == "killed by SIGTERM, by a process outside the queue"
    assert worker.poll() is None


def test_one_order_sent_twice_at_once_is_still_a_drain(workers):
    task = spawn_one("sleep", {"seconds": 4})
    worker = workers.start()
    with_progress(task)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM):
        worker.send_signal(number)
    assert worker.wait(60) == 0
    assert outcomes(task) == ["completed"]


def test_a_worker_killed_after_a_stop_signal_charges_nothing(workers):
    """What `docker stop` does after ten seconds, while the attempts still have their drain timeout."""
    task = spawn_one("sleep", {"seconds": 300})
    worker = workers.start()
    with_progress(task)
    worker.send_signal(signal.SIGTERM)
    wait_for(lambda: Worker.objects.exclude(stop_signal_at=None).exists())
    worker.kill()
    workers.start()  # whose sweep finds the lease expired
    wait_for(lambda: outcomes(task)[0])
    assert outcomes(task)[0] == "drained"
    assert charged(task)[1:] in ((0, 0), (0, 1))  # the claim that runs now counts as a crash until it ends otherwise
