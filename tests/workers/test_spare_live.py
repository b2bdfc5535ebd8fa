"""A spare child that has imported CASA: used once, never missed, never in the way."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from tasks_app.models import Attempt
from tests.workers.live import LiveWorkers, attempts, finished, gone, spawn_one, wait_for, with_progress
from workers.process import handle, prewarmed

pytestmark = [pytest.mark.chaos, pytest.mark.casa]


def spares() -> list[psutil.Process]:
    """Return the children that wait in a spare's directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.environ().get("HOME", "/")).parent == prewarmed.directory() and is_child(process):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def is_child(process: psutil.Process) -> bool:
    return "workers.process.child" in process.cmdline()


def one_ready(workers: LiveWorkers, but: int = 0) -> psutil.Process:
    """Return the only spare, as soon as its worker has said that it is ready."""

    def look() -> psutil.Process | None:
        found = [process for process in spares() if process.pid != but]
        return found[0] if len(found) == 1 and f"spare is ready pid={found[0].pid} " in workers.logs() else None

    return wait_for(look, 100)


def test_the_second_attempt_finds_casa_imported_and_everything_in_its_place(workers):
    worker = workers.start()
    cold = finished(spawn_one("casa-trial"), 100)
    process = one_ready(workers)
    assert process.cpu_times().user > 1.0  # what the import costs
    assert process.memory_info().rss < 700e6
    assert Attempt.objects.count() == 1
    warm = finished(spawn_one("casa-trial", {"severe": "no solutions"}, max_retries=0), 100)
    (first,), (second,) = attempts(cold), attempts(warm)
    assert cold.status == "completed" and cold.result["pid"] != process.pid
    assert (warm.status, "no solutions" in warm.error) == ("failed", True)  # CASA logged into the attempt's own log
    assert gone(process.pid)  # used once
    assert second.cpu_sec < first.cpu_sec / 2  # what the import cost is not the attempt's
    log = Path(second.log_path).read_text()
    assert "CASA is there" in log and "asking CASA" in log
    again = one_ready(workers)
    done = finished(spawn_one("casa-trial"), 100)
    assert done.result["pid"] == again.pid
    assert done.result["home"] == done.result["working_directory"] == str(Path(attempts(done)[0].directory) / "scratch")
    assert done.result["omp_threads"] == "1"
    last = one_ready(workers, but=again.pid)
    guardian = last.parent()
    worker.send_signal(signal.SIGKILL)
    wait_for(lambda: gone(last.pid) and gone(guardian.pid), 2.0)
    wait_for(lambda: list(prewarmed.directory().iterdir()) == [])


def test_a_spare_that_hangs_or_dies_costs_no_attempt(workers):
    workers.start()
    finished(spawn_one("casa-trial"), 100)
    stopped = one_ready(workers)
    stopped.suspend()  # takes the attempt, and never begins it
    task = spawn_one("casa-trial")
    assert finished(task, 100).status == "completed"
    assert [each.outcome for each in attempts(task)] == ["completed"]
    assert "starts without it" in workers.logs()
    assert gone(stopped.pid)
    one_ready(workers, but=stopped.pid).kill()
    assert finished(spawn_one("casa-trial"), 100).status == "completed"


def test_a_worker_that_starts_again_has_a_spare_ready_for_its_first_attempt(workers):
    worker = workers.start()
    cold = finished(spawn_one("casa-trial"), 100)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    label = workers.start().args[-1]
    wait_for(lambda: "warm spare is ready" in workers.log_of(label).read_text(), 100)
    (waiting,) = wait_for(lambda: spares())
    first = finished(spawn_one("casa-trial"), 100)
    assert first.result["pid"] == waiting.pid != cold.result["pid"]


def test_no_spare_is_kept_where_none_is_wanted(workers):
    workers.start("--no-warm")
    finished(spawn_one("casa-trial"), 100)
    finished(spawn_one("casa-trial"), 100)
    assert spares() == []


QUICK = prewarmed.Kind(module="json.tool", cores=1)


def test_what_a_killed_spare_left_is_removed_and_what_a_living_one_uses_is_not(tmp_path, settings, monkeypatch):
    settings.ABSURD_VAR = tmp_path
    monkeypatch.setattr(prewarmed, "TRY_AGAIN_SEC", 0.0)
    living = prewarmed.Spare(QUICK)
    wait_for(lambda: living.is_alive() and living.ready)
    (used,) = prewarmed.directory().iterdir()
    dead = prewarmed.directory() / "left-behind"
    dead.mkdir()
    assert prewarmed.sweep() == [dead]
    assert used.exists() and not dead.exists()
    living.handle.close()
    handle.reap(10)
    living.close_log()
    assert not used.exists()


def test_an_idle_spare_is_ended_and_one_that_fails_is_not_started_again_at_once(
    tmp_path, settings, monkeypatch, caplog
):
    settings.ABSURD_VAR = tmp_path
    kept = prewarmed.directory()
    pool = prewarmed.SparePool(enabled=True)
    pool.take(prewarmed.Kind(module="no_such_module", cores=1))

    def failure_logged() -> bool:
        pool.maintain(wanted=True)
        return "No module named 'no_such_module'" in caplog.text

    wait_for(failure_logged, 30)
    pool.maintain(wanted=True)
    wait_for(lambda: list(kept.iterdir()) == [])
    pool.close()

    monkeypatch.setattr(prewarmed, "IDLE_SEC", 0.0)
    idle = prewarmed.SparePool(enabled=True)
    idle.take(QUICK)
    idle.maintain(wanted=True)
    assert len(list(kept.iterdir())) == 1
    idle.maintain(wanted=True)
    wait_for(lambda: list(kept.iterdir()) == [])
    idle.maintain(wanted=True)
    assert list(kept.iterdir()) == []
    idle.close()
    handle.reap(10)


def test_a_child_with_casa_listens_on_no_port_while_it_waits_and_while_it_works(workers):
    worker = workers.start()
    finished(spawn_one("casa-trial"), 100)
    one_ready(workers)
    with_progress(spawn_one("casa-trial", {"then_sleep_sec": 300}))
    everyone = psutil.Process(worker.pid).children(recursive=True)
    assert sum(is_child(process) for process in everyone) >= 1
    open_ports = [c for p in everyone for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert open_ports == []
