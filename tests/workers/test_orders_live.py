"""Workers that are paused, drained, recycled and resumed from elsewhere, and what they report of themselves."""

from __future__ import annotations

import os
import signal
import socket

import psutil
import pytest

from tasks_app.models import TaskEvent, Worker
from tasks_app.operations.catalogue import OPERATIONS
from tests.workers.live import attempts, finished, spawn_one, wait_for, with_progress

pytestmark = pytest.mark.chaos


def up() -> Worker:
    """Return the row of the one worker that is up, as soon as there is one."""
    return wait_for(lambda: Worker.objects.filter(stopped_at=None).first())


def order(worker: Worker, name: str) -> Worker:
    return OPERATIONS["worker", name](worker.pk, actor="user:ann", reason="a disk is being changed")


def events(event_type: str) -> list[TaskEvent]:
    return list(TaskEvent.objects.filter(event_type=event_type).order_by("id"))


def test_a_paused_worker_finishes_what_it_runs_and_claims_nothing_until_it_is_resumed(workers):
    process = workers.start()
    running = with_progress(spawn_one("sleep", {"seconds": 6}))
    worker = order(up(), "pause")
    wait_for(lambda: "an operator requested pause" in workers.logs())
    waiting = spawn_one("echo")
    assert finished(running).status == "completed"
    waiting.refresh_from_db()
    assert (waiting.status, process.poll()) == ("pending", None)
    order(worker, "resume")
    assert finished(waiting).status == "completed"


def test_a_drained_worker_ends_by_itself_after_its_tasks_and_an_order_to_drain_can_be_taken_back(workers):
    process = workers.start()
    worker = up()
    first = with_progress(spawn_one("sleep", {"seconds": 12}))
    order(worker, "drain")
    wait_for(lambda: "an operator requested drain" in workers.logs())
    order(worker, "resume")
    wait_for(lambda: "an operator requested resume" in workers.logs())
    assert finished(spawn_one("echo")).status == "completed"
    order(worker, "drain")
    assert finished(first).status == "completed"
    assert process.wait(60) == 0
    worker.refresh_from_db()
    assert worker.stopped_at is not None
    assert [event.detail["worker"]["boot_id"] for event in events("worker_stopped")] == [str(worker.pk)]


def test_a_recycled_worker_goes_on_as_a_fresh_one_in_the_same_process(workers):
    process = workers.start()
    old = up()
    task = with_progress(spawn_one("sleep", {"seconds": 6}))
    order(old, "recycle")
    new = wait_for(lambda: Worker.objects.filter(stopped_at=None).exclude(pk=old.pk).first())
    old.refresh_from_db()
    assert (new.label, new.pid, process.poll()) == (old.label, process.pid, None)
    assert old.draining and old.stopped_at is not None
    assert (finished(task).status, len(attempts(task))) == ("completed", 1)
    assert finished(spawn_one("echo")).status == "completed"
    assert len(events("worker_registered")) == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("option", "value", "because"),
    [("--max-age", "1", "longer than --max-age 1"), ("--max-rss-gb", "0.02", "more than --max-rss-gb 0.02")],
    ids=["age", "memory"],
)
def test_an_old_or_large_worker_starts_anew_after_what_it_runs(workers, option, value, because):
    workers.start(option, value)
    wait_for(lambda: Worker.objects.filter(stopped_at=None).exists() and len(events("worker_registered")) > 1)
    assert because in workers.logs()


def test_it_reports_its_version_its_clock_its_memory_and_its_disk(workers):
    workers.start("--cores", "7")
    worker = wait_for(lambda: Worker.objects.filter(clock_skew_sec__isnull=False).first())
    assert worker.version.startswith("0.")
    assert abs(worker.clock_skew_sec) < 1.0  # it is the same host's clock
    assert worker.cores == 7 and worker.disk_gb > 0
    process = psutil.Process(worker.pid)
    assert process.memory_info().rss / 3 < worker.rss_bytes < 3 * process.memory_info().rss


def test_the_row_says_that_it_is_ending_as_soon_as_it_is_signalled(workers):
    process = workers.start()
    task = with_progress(spawn_one("sleep", {"seconds": 8}))
    process.send_signal(signal.SIGTERM)
    worker = wait_for(lambda: Worker.objects.filter(draining=True).first())
    assert worker.stopped_at is None
    assert len(events("worker_draining")) == 1
    assert finished(task).status == "completed"


def test_systemd_is_notified_when_it_is_ready_alive_and_ending(workers, tmp_path):
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        listener.settimeout(60)
        process = workers.start(NOTIFY_SOCKET=str(address), WATCHDOG_USEC="600000")
        messages: list[str] = []
        while not {"READY=1", "WATCHDOG=1"} <= set(messages):
            messages.append(listener.recv(1024).decode())
        assert Worker.objects.filter(stopped_at=None).exists()
        beats = 0
        while beats < 5:
            beats += listener.recv(1024).decode() == "WATCHDOG=1"
        os.kill(process.pid, signal.SIGTERM)
        while listener.recv(1024).decode() != "STOPPING=1":
            pass
    assert process.wait(60) == 0
