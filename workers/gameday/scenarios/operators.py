"""What operators do and what hosts are like: cancel in every phase, drain, restore a backup, run with wrong clocks."""

from __future__ import annotations

import signal
import time
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from django.conf import settings
from django.db import transaction

from tasks_app.backup import backup, restore
from tasks_app.backup.server import Server
from tasks_app.models import Task, TaskEvent
from tasks_app.operations.tasks import cancel
from tasks_app.postgresql import clock
from workers.gameday import polling
from workers.gameday.drill import ACTOR, Drill, scenario
from workers.gameday.processes import WorkerProcess

JUST_CLAIMED = 5
HELD_BACK_SEC = 1.0
DRAIN_BOUND_SEC = 10.0
SHIFTED = Path(__file__).resolve().parents[1] / "shifted_clock"
OFF_SEC = 3600


@scenario("cancel-in-every-phase")
def cancel_in_every_phase(drill: Drill) -> None:
    """Cancel pending, just claimed, running, stopping and delivering."""
    pending = drill.spawn("sleep", {"seconds": 5})
    drill.cancel(pending)
    drill.expect_status("pending: at once", pending, "cancelled")
    drill.expect_events(pending, "spawned", "cancelled")
    drill.processes.start_ready("--concurrency", str(JUST_CLAIMED))
    _just_claimed(drill)
    _running(drill)
    _stopping(drill)
    _delivering(drill)


def _just_claimed(drill: Drill) -> None:
    tasks = drill.spawn_many("sleep", [{"seconds": 60}] * JUST_CLAIMED)
    for task in tasks:
        polling.event(task, "claimed")
        drill.cancel(task)
    for task in tasks:
        drill.expect_stopped_in_time(task)
        drill.expect_status("just claimed: cancelled", task, "cancelled")
        drill.expect_events(task, "spawned", "claimed", "cancel_requested", "cancelled")


def _running(drill: Drill) -> None:
    task = drill.spawn("sleep", {"seconds": 20})
    polling.with_progress(task)
    drill.cancel(task)
    drill.expect_stopped_in_time(task)
    drill.expect_outcomes(task, "cancelled")


def _stopping(drill: Drill) -> None:
    """Cancel an attempt that is being stopped for another reason already, and would have been retried."""
    task = drill.spawn("hang-in-c", timeout_sec=2)
    polling.wait_for("its stop", lambda: polling.last_attempt(task).stop_asked_at)
    drill.cancel(task)
    found = polling.finished(task)
    drill.expect("stopping: cancelled, not retried", found.status == "cancelled", polling.event_types(task))
    drill.expect_stopped_in_time(task)


def _delivering(drill: Drill) -> None:
    """Cancel while the worker waits to write the outcome: a lock on the row holds it back."""
    task = drill.spawn("thread-sleep", {"seconds": 0.5, "steps": 1})
    polling.event(task, "claimed")
    with transaction.atomic():
        Task.objects.select_for_update().get(pk=task.pk)
        time.sleep(HELD_BACK_SEC)
        cancel(task.task_id, actor=ACTOR, reason="too late")
    found = polling.finished(task)
    drill.expect("delivering: either, but once", found.status in ("completed", "cancelled"), polling.event_types(task))


@scenario("drain")
def drain(drill: Drill) -> None:
    """SIGTERM of one of two workers under load: nothing is lost, nothing costs a retry."""
    leaving, _ = drill.processes.start_all_ready(2)
    tasks = drill.spawn_many("sleep", [{"seconds": 1, "steps": 2}] * 12) + drill.spawn_many(
        "thread-sleep", [{"seconds": 0.2, "steps": 1}] * 120
    )
    mine = TaskEvent.objects.filter(task_id__in=drill.task_ids, event_type="claimed", actor=f"worker:{leaving.label}")
    polling.wait_for("its share of the load", lambda: mine.count() >= 4)
    moment = clock.now()
    leaving.popen.send_signal(signal.SIGTERM)
    code = leaving.popen.wait(60)
    seconds = polling.since(moment)
    drill.report.recovered("the drained worker has ended", seconds, DRAIN_BOUND_SEC)
    drill.expect("it ends with code 0", code == 0, code)
    # A claim that was under way when the signal came is carried out.
    drains = TaskEvent.objects.filter(event_type="worker_draining", actor=f"worker:{leaving.label}")
    first = drains.order_by("id").first()
    drill.expect("its drain is an event", first is not None)
    if first is not None:
        late = mine.filter(id__gt=first.id).count()
        drill.expect("it claims no more", late == 0, late)
    polling.all_finished(drill.task_ids)
    stored = Task.objects.filter(pk__in=[task.pk for task in tasks])
    found = set(stored.values_list("status", "retry_count"))
    drill.expect("every task completes and costs no retry", found == {("completed", 0)}, found)
    started_twice = [task for task in tasks if polling.outcomes(task)[:-1] not in ([], ["drained"])]
    drill.expect("only what was returned before it started has another attempt", not started_twice, started_twice)
    drill.expect("its row is marked as stopped", leaving.row.stopped_at is not None)


@scenario("clock-moved")
def clock_moved(drill: Drill) -> None:
    """One worker's clock an hour ahead, another's an hour behind."""
    workers = [_start(drill, offset_sec) for offset_sec in (OFF_SEC, -OFF_SEC)]
    long = drill.spawn_many("sleep", [{"seconds": drill.options.lease_sec + 2}] * 4)
    failing = drill.spawn("fail", {"succeed_on_attempt": 2})
    hung = drill.spawn("hang-in-c")
    polling.with_progress(hung)
    drill.cancel(hung, "hung")
    drill.expect_stopped_in_time(hung)
    polling.finished(failing)
    drill.expect_next_attempt_soon(failing)
    drill.expect_outcomes(failing, "error", "completed")
    for task in long:
        polling.finished(task)
        drill.expect_course(task, "completed")
        (attempt,) = polling.attempts(task)
        wall_sec = attempt.wall_sec or 0.0
        drill.expect("times are the database's", 0 < wall_sec < 60, f"{wall_sec:.1f} s")
    for worker, offset_sec in zip(workers, (OFF_SEC, -OFF_SEC), strict=True):
        off_sec = _time_logged_by(worker) - time.time()
        drill.expect("its clock is off", abs(off_sec - offset_sec) < 300, f"{off_sec:.0f} s")
    drill.report.notes.append("the host's own clock was left alone: only these workers saw another time")


def _start(drill: Drill, offset_sec: int) -> WorkerProcess:
    environment = {"PYTHONPATH": str(SHIFTED), "GAMEDAY_CLOCK_OFFSET_SEC": str(offset_sec), "TZ": "UTC"}
    environment["PYTHONWARNINGS"] = "ignore"  # compiled modules notice that datetime is another
    return drill.processes.start_ready("--concurrency", "3", environment=environment)


def _time_logged_by(worker: WorkerProcess) -> float:
    """Return the time that a worker's first log line carries, in seconds since 1970."""
    stamp = worker.log.read_text().split(",", 1)[0]
    return datetime.fromisoformat(f"{stamp}+00:00").timestamp()


TASKS = 12
BURST_SEC = 120.0


@scenario("restore-a-backup")
def restore_a_backup(drill: Drill) -> None:
    """Back up under load, restore into a new database, and complete there what had not ended in the dump."""
    server = Server.configured()
    drill.processes.start_ready("--concurrency", "2")
    tasks = drill.spawn_many("sleep", [{"seconds": 1, "steps": 2}] * TASKS)
    polling.finished(tasks[0])
    made = backup.make(server, drill.directory / "backups", keep=1)
    drill.expect("the restored dump has the rows of the snapshot", made.manifest.verified)
    copy = server.database(f"gameday_{uuid4().hex[:12]}")
    try:
        found = restore.restore_into(copy, made.path)
        drill.expect("its rows are those of the backup", found.rows == made.manifest.rows)
        _work_off(drill, copy)
    finally:
        with server.maintenance() as session:
            restore.drop(session, copy.name)
    polling.all_finished(drill.task_ids)


def _work_off(drill: Drill, copy: Server) -> None:
    """Run a worker on the restored database until nothing is left, and look at what it has done."""
    url = urlsplit(settings.ABSURD_DATABASE_URL)._replace(path=f"/{copy.name}").geturl()
    worker = drill.processes.start("--burst", environment={"ABSURD_DATABASE_URL": url})
    code = worker.popen.wait(BURST_SEC)
    drill.expect("a worker has worked off the restored queue", code == 0, code)
    ids = [str(task_id) for task_id in drill.task_ids]
    with copy.connect() as session:
        ended = session.execute(
            "SELECT task_id, count(*) FROM tasks_app_taskevent"
            " WHERE event_type = 'completed' AND task_id::text = ANY(%s) GROUP BY task_id",
            [ids],
        ).fetchall()
    drill.expect("every task has completed there", len(ended) == TASKS, f"{len(ended)} of {TASKS}")
    drill.expect("and none twice", all(times == 1 for _, times in ended), ended)
