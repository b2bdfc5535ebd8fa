"""Each check, provoked for real."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from absurd_project import env
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.feed import feed
from tasks_app.feed.messages import Selection
from tasks_app.feed.outbox import Outbox
from tasks_app.models import Freeze, Queue, Task, Worker
from tasks_app.monitoring import health, thresholds
from tasks_app.monitoring.health import host
from tasks_app.monitoring.health.background import Bounded, wait
from tasks_app.operations.queues import pause, resume
from tasks_app.postgresql import clock
from tests.tasks_app.callers import Caller, make_key
from tests.tasks_app.listeners import in_thread
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

HOUR = timedelta(hours=1)


@pytest.fixture
def limits(settings):
    """Set thresholds for one test."""

    def set_to(**changes: float) -> None:
        settings.ABSURD_HEALTH = {**settings.ABSURD_HEALTH, **changes}

    return set_to


def look(name: str) -> health.Check:
    (found,) = [check for check in health.examine().checks if check.name == name]
    return found


def run_sql(sql: str, params: list | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


@pytest.fixture
def other_session(transactional_db):
    """Another client of the test's database."""
    database = connection.settings_dict
    with psycopg.connect(
        dbname=database["NAME"], user=database["USER"], host=database["HOST"], application_name="nightly report"
    ) as session:
        yield session
        session.rollback()


# The queue


@pytest.mark.django_db
def test_with_a_worker_and_nothing_to_do_all_is_well(worker):
    found = health.examine()
    assert (found.status, found.message, found.reasons) == ("healthy", "Absurd is operational", ())
    assert {check.state for check in found.checks} == {"ok"}
    assert not [check.name for check in found.checks if check.remedy]
    assert {
        "database", "workers", "unserved queues", "depth", "oldest pending", "progress", "stalled claims", "stops",
        "writes", "migrations", "indexes", "counting", "folding", "feed", "vacuum", "old transactions", "clock", "disk",
        "redis", "task names", "data roots of workers", "data roots", "hosts",
        "lost workers", "crash loops", "failures", "quarantine", "stalled runs", "verdicts", "incomplete observations",
        "late tiles", "backups", "pilots",
    } == {check.name for check in found.checks}  # fmt: skip


@pytest.mark.django_db
def test_no_worker_is_worse_while_there_is_work():
    assert (look("workers").state, health.examine().status) == ("warn", "degraded")
    spawn_note()
    found = look("workers")
    assert (found.state, found.value, health.examine().status) == ("bad", 0, "unhealthy")
    assert found.remedy == "start one with manage.py runworker --queue-name dsa110-pipeline"


@pytest.mark.django_db
def test_a_queue_that_lost_its_workers_is_named(worker):
    spawn_note(queue_name="mosaic")
    gone = make_worker(label="worker-2", queues=["mosaic"], stopped_at=clock.now())
    found = look("unserved queues")
    assert (found.state, found.message) == ("warn", "No worker serves mosaic")
    assert "--queue-name mosaic" in found.remedy
    gone.delete()
    make_worker(label="worker-3", queues=["mosaic"])
    assert look("unserved queues").state == "ok"


@pytest.mark.django_db
def test_a_key_that_may_only_spawn_cannot_make_the_system_degraded(worker):
    answer = Caller(make_key("spawn")).post(
        "tasks", {"task_name": "note", "params": {"text": "x"}, "queue_name": "made-up", "priority": 20}
    )
    assert answer.status_code == 201
    assert health.examine().status == "healthy"


@pytest.mark.django_db
def test_depth_has_two_thresholds(worker, limits):
    for _ in range(3):
        spawn_note()
    limits(depth_warn=2, depth_bad=3)
    assert (look("depth").state, look("depth").value) == ("warn", 3)
    limits(depth_bad=2)
    assert look("depth").state == "bad"


@pytest.mark.django_db
def test_tasks_scheduled_for_later_do_not_count_as_depth(worker, limits):
    for _ in range(3):
        spawn_note(scheduled_at=clock.now() + timedelta(days=7))
    limits(depth_warn=1, depth_bad=2)
    assert (look("depth").state, look("depth").value) == ("ok", 0)


@pytest.mark.django_db
@pytest.mark.parametrize(("minutes", "state"), [(9, "ok"), (11, "warn"), (61, "bad")])
def test_a_task_that_waits_long_is_noticed(worker, minutes, state):
    spawn_note()
    Task.objects.update(runnable_at=clock.now() - timedelta(minutes=minutes))
    assert look("oldest pending").state == state


@pytest.mark.django_db
def test_workers_that_take_nothing_are_noticed(worker):
    spawn_note()
    Task.objects.update(runnable_at=clock.now() - timedelta(minutes=6))
    assert look("progress").state == "bad"
    pause("dsa110-pipeline", actor="user:test", reason="storm")
    assert look("progress").state == "ok"
    resume("dsa110-pipeline", actor="user:test")
    claim = claim_one(worker)
    assert look("progress").state == "ok"
    spawn_note()
    Task.objects.filter(status="pending").update(runnable_at=clock.now() - timedelta(minutes=6))
    complete_task(claim, {}, REPORT)
    assert look("progress").state == "ok"


@pytest.mark.django_db
def test_claims_past_their_lease_are_counted(worker):
    spawn_note()
    claim_one(worker)
    Task.objects.update(lease_until=clock.now() - HOUR)
    assert (look("stalled claims").state, look("stalled claims").value) == ("warn", 1)


@pytest.mark.django_db
def test_a_paused_queue_and_a_freeze_say_who_and_why(worker):
    spawn_note()
    pause("dsa110-pipeline", actor="user:ann", reason="disk full")
    assert (look("stops").state, look("stops").message) == ("warn", "Queue paused by user:ann (disk full)")
    Freeze.objects.create(frozen_by="user:bob", reason="storm")
    assert look("stops").message == "Everything is frozen by user:bob (storm)"
    assert "thaw" in health.examine().message


@pytest.mark.django_db
def test_another_queue_is_checked_by_name(worker):
    Queue.objects.create(name="mosaic")
    found = health.examine("mosaic")
    assert (found.queue, found.status) == ("mosaic", "degraded")
    assert "--queue-name mosaic" in found.reasons[0]


# The database


@pytest.mark.django_db(transaction=True)
def test_a_slow_database_is_noticed(limits):
    make_worker()
    limits(database_latency_warn_ms=0.0)
    assert look("database").state == "warn"
    limits(database_latency_bad_ms=0.0)
    assert look("database").state == "bad"


@pytest.mark.django_db
def test_a_missing_index_is_named_with_the_statement_that_makes_it(worker):
    run_sql("DROP INDEX task_claimable")
    found = look("indexes")
    assert (found.state, found.message) == ("warn", "Indexes are missing or invalid: task_claimable")
    assert found.remedy.startswith('CREATE INDEX CONCURRENTLY "task_claimable" ON "tasks_app_task"')
    run_sql(found.remedy.replace("CONCURRENTLY ", ""))
    assert look("indexes").state == "ok"
    run_sql("DROP INDEX task_claim_token_once")
    found = look("indexes")
    assert found.state == "bad"
    run_sql(found.remedy)
    assert look("indexes").state == "ok"


@pytest.mark.django_db
def test_an_invalid_index_counts_as_missing(worker):
    run_sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'task_leased'::regclass")
    assert look("indexes").remedy.startswith("DROP INDEX CONCURRENTLY task_leased; CREATE INDEX")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "sql", ["ALTER TABLE tasks_app_task DISABLE TRIGGER USER", "DROP TRIGGER task_count_updated ON tasks_app_task"]
)
def test_counts_that_are_no_longer_kept_are_noticed(worker, sql):
    run_sql("SET CONSTRAINTS ALL IMMEDIATE")
    run_sql(sql)
    assert (look("counting").state, health.examine().status) == ("bad", "unhealthy")


@pytest.mark.django_db
def test_migrations_that_are_missing_or_unknown_are_named(worker):
    run_sql("INSERT INTO django_migrations (app, name, applied) VALUES ('tasks_app', '9999_later', now())")
    found = look("migrations")
    assert (found.state, "tasks_app.9999_later" in found.message) == ("warn", True)
    run_sql("DELETE FROM django_migrations WHERE app = 'tasks_app' AND name = '0001_initial'", [])
    found = look("migrations")
    assert (found.state, found.value, found.remedy) == ("bad", 1, "run manage.py migrate")
    assert "tasks_app.0001_initial" in found.message


@pytest.mark.django_db
def test_a_check_that_cannot_be_made_spoils_no_other(worker):
    run_sql("ALTER TABLE tasks_app_countdelta RENAME TO mislaid")
    found = health.examine()
    states = {check.name: check.state for check in found.checks}
    assert (states["folding"], states["depth"]) == ("bad", "bad")
    assert (states["migrations"], states["disk"], states["clock"]) == ("ok", "ok", "ok")
    assert "mislaid" not in found.message and "tasks_app_countdelta" in found.message


@pytest.mark.django_db
def test_changes_that_nobody_folds_are_noticed(worker, limits):
    for _ in range(3):
        spawn_note()
    limits(unfolded_warn=2)
    found = look("folding")
    assert (found.state, found.message) == ("warn", "Count changes not folded yet: more than 2")


@pytest.mark.django_db
def test_a_clock_that_is_off_is_noticed(worker):
    assert (look("clock").state, look("clock").value) == ("ok", 0)
    for off_sec, state in ((30, "warn"), (600, "bad")):
        started = time.monotonic()
        run_sql("SELECT set_config('absurd.now', (statement_timestamp() + %s * interval '1 s')::text, true)", [off_sec])
        found = look("clock")
        elapsed_sec = time.monotonic() - started  # the clock of the session stands still meanwhile
        assert (found.state, found.value) == (state, pytest.approx(off_sec, abs=elapsed_sec + 0.01))


@pytest.mark.django_db(transaction=True)
def test_dead_rows_that_vacuum_does_not_remove_are_noticed(limits):
    make_worker()
    run_sql("VACUUM")  # of what other tests have left
    limits(dead_rows_warn=5, dead_ratio_warn=0.5)

    def until(reached: Callable[[health.Check], bool], *statements: str) -> health.Check:
        """Repeat the statements until it is: the server's counters come late, and pages prune themselves."""
        deadline = time.monotonic() + 120
        while not reached(found := look("vacuum")):
            assert time.monotonic() < deadline, found
            for statement in (*statements, "SELECT pg_stat_force_next_flush()"):
                run_sql(statement)
        return found

    update = ["UPDATE tasks_app_worker SET pid = pid + 1"] * 20
    found = until(lambda found: found.remedy.endswith("VACUUM tasks_app_worker"), *update)
    assert (found.state, found.value > 5) == ("warn", True)
    until(lambda found: found.state == "ok", "VACUUM")


@pytest.mark.django_db(transaction=True)
def test_a_session_idle_in_a_transaction_is_named_with_the_way_to_end_it(other_session, limits):
    make_worker()
    other_session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    other_session.execute("SELECT count(*) FROM tasks_app_task")
    time.sleep(0.2)
    assert look("old transactions").state == "ok"
    limits(transaction_warn_sec=0.1)
    found = look("old transactions")
    assert (found.state, found.value >= 0.1) == ("warn", True)
    pid = other_session.info.backend_pid
    for part in ("idle in a transaction", f"pid {pid}", "nightly report", "SELECT count(*) FROM tasks_app_task"):
        assert part in found.message
    assert f"pg_terminate_backend({pid})" in found.remedy
    limits(transaction_bad_sec=0.1)
    assert look("old transactions").state == "bad"
    other_session.rollback()
    assert look("old transactions").state == "ok"


@pytest.mark.django_db(transaction=True)
def test_events_withheld_for_an_open_transaction_are_noticed(other_session, limits):
    make_worker()
    event = "ROW(NULL, '', NULL, 'note', '', '', 'test', '', 0, '{}')::absurd_event"
    other_session.execute(f"SELECT absurd_record(ARRAY[{event}])")
    spawn_note()
    time.sleep(0.2)
    assert look("feed").state == "ok"
    limits(withheld_warn_sec=0.1)
    found = look("feed")
    assert (found.state, "nightly report" in found.message) == ("warn", True)
    other_session.rollback()
    assert look("feed").state == "ok"


@pytest.mark.django_db(transaction=True)
async def test_a_feed_that_lags_behind_the_events_is_noticed(limits):
    limits(feed_lag_warn_sec=0.1)
    await in_thread(make_worker)()
    reader, release = feed(), threading.Event()
    _, last, _ = await reader.latest()
    reader._reader.submit(release.wait)
    socket = Outbox(Selection(), last)
    assert reader.join(socket)
    try:
        await in_thread(spawn_note)()
        await asyncio.sleep(0.3)
        found = await in_thread(look)("feed")
        assert (found.state, found.value > 0.1) == ("warn", True)
        release.set()
        assert "task_update" in (await socket.next()).text
        assert (await in_thread(look)("feed")).state == "ok"
    finally:
        release.set()
        await reader.leave(socket)


# The host


@pytest.mark.django_db
def test_a_full_disk_is_noticed_once_a_file_system(worker, limits, settings, tmp_path):
    settings.ABSURD_DATA_ROOTS = (tmp_path, tmp_path / "missing", Path("/proc"))
    limits(disk_free_warn_fraction=1.1)
    found = [check for check in health.examine().checks if check.name == "disk" and str(tmp_path) in check.message]
    assert [check.state for check in found] == ["warn"]
    limits(disk_free_bad_fraction=1.1)
    assert look_at_disk(tmp_path).state == "bad"


def look_at_disk(path: Path) -> health.Check:
    (found,) = [check for check in health.examine().checks if check.name == "disk" and str(path) in check.message]
    return found


@pytest.mark.django_db
def test_a_disk_that_does_not_answer_holds_up_nothing_else(worker, limits, settings, tmp_path, monkeypatch):
    settings.ABSURD_DATA_ROOTS = (tmp_path,)
    release, device = threading.Event(), host.device
    monkeypatch.setattr(host, "device", lambda path: release.wait() if path == tmp_path else device(path))
    limits(limit_sec=0.3)
    try:
        for _ in range(6):  # more often than there are threads for it
            found = look_at_disk(tmp_path)
            assert (found.state, "does not answer" in found.message) == ("bad", True)
        assert {"database", "redis"} <= {check.name for check in health.examine().checks if check.state == "ok"}
    finally:
        release.set()


@pytest.mark.django_db
def test_a_redis_that_does_not_answer_only_degrades(worker, settings, tmp_path):
    settings.ABSURD_REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    assert (look("redis").state, health.examine().status) == ("warn", "degraded")
    assert "ABSURD_REDIS_URL" in look("redis").remedy


# Bounds, settings, doors


def test_work_that_hangs_is_let_be_but_only_so_often():
    release, bounded = threading.Event(), Bounded("a test", limit=2)
    try:
        hanging = [bounded.start(release.wait, time.monotonic() + 60) for _ in range(2)]
        with pytest.raises(TimeoutError):
            wait(hanging[0], time.monotonic() + 0.05)
        refused = bounded.start(lambda: 1, time.monotonic() + 0.05)
        with pytest.raises(TimeoutError, match="earlier checks of a test"):
            wait(refused, time.monotonic())
    finally:
        release.set()
    assert [wait(each, time.monotonic() + 60) for each in hanging] == [True, True]
    assert wait(bounded.start(lambda: 2, time.monotonic() + 60), time.monotonic() + 60) == 2


def test_a_transaction_that_blocks_the_checks_does_not_block_the_answer(other_session, limits):
    make_worker()
    other_session.execute("LOCK TABLE tasks_app_worker IN ACCESS EXCLUSIVE MODE")
    limits(limit_sec=0.5)
    found = health.examine()
    assert found.status == "unhealthy"
    other_session.rollback()
    limits(limit_sec=3.0)
    assert health.examine().status == "healthy"


def test_thresholds_are_set_in_the_environment_and_bad_ones_refused_by_name(monkeypatch):
    monkeypatch.delenv("ABSURD_HEALTH")
    assert env.numbers("ABSURD_HEALTH") == thresholds.DEFAULTS
    monkeypatch.setenv("ABSURD_HEALTH", "depth_warn=800, disk_free_bad_fraction=0.01")
    found = env.numbers("ABSURD_HEALTH")
    assert (found["depth_warn"], found["disk_free_bad_fraction"], found["depth_bad"]) == (800, 0.01, 1000)
    for value, output in (("dept_warn=1", "depth_warn"), ("depth_warn=many", "number"), ("depth_warn=-1", "below 0")):
        monkeypatch.setenv("ABSURD_HEALTH", value)
        with pytest.raises(env.BadSetting, match=f"ABSURD_HEALTH.*{output}"):
            env.numbers("ABSURD_HEALTH")


@pytest.mark.django_db
def test_readers_get_every_check_through_the_api_and_others_none():
    spawn_note()
    reader = Caller(make_key("read"))
    body = reader.get("health?checks=true").body
    (found,) = [check for check in body["checks"] if check["name"] == "workers"]
    assert found == {
        "name": "workers", "state": "bad", "message": "No active workers", "value": 0.0, "threshold": 1.0,
        "place": "", "remedy": "start one with manage.py runworker --queue-name dsa110-pipeline",
    }  # fmt: skip
    assert f"{found['message']}: {found['remedy']}" == body["reasons"][0]
    assert set(reader.get("health").body) == {
        "status", "message", "queue", "reasons", "database_available", "queue_depth",
    }  # fmt: skip
    assert (body["database_available"], body["queue_depth"]) == (True, 1)
    assert set(Caller().get("health?checks=true").body) == {"status", "message", "queue"}


@pytest.mark.django_db
def test_the_doctor_prints_a_line_a_check_and_exits_5_when_unhealthy(capsys, settings):
    spawn_note()
    with pytest.raises(SystemExit) as ended:
        call_command("absurd_doctor")
    assert ended.value.code == 5
    lines = capsys.readouterr().out.splitlines()
    (at,) = [n for n, line in enumerate(lines) if "No active workers" in line]
    assert lines[at].startswith("BAD ")
    assert lines[at + 1].strip() == "start one with manage.py runworker --queue-name dsa110-pipeline"
    assert lines[0] == "dsa110-pipeline: unhealthy"
    make_worker()
    call_command("absurd_doctor")
    assert capsys.readouterr().out.splitlines()[0] == "dsa110-pipeline: healthy"
    settings.ABSURD_ENABLED = False
    call_command("absurd_doctor", "--queue", "dsa110-pipeline", "--json")
    output = json.loads(capsys.readouterr().out)
    assert (output["status"], {check["state"] for check in output["checks"]}) == ("disabled", {"ok"})


@pytest.mark.django_db
def test_tasks_of_names_that_no_live_worker_knows_are_reported():
    spawn_note()
    old = make_worker(task_names=["echo"])
    found = look("task names")
    assert (found.state, found.value) == ("warn", 1)
    assert found.message == "No live worker knows the task names note: their tasks stay pending"
    make_worker(task_names=["note"])
    assert look("task names").state == "ok"
    Worker.objects.filter(pk=old.pk).update(missing_roots=["/data"])
    found = look("data roots of workers")
    assert (found.state, found.value) == ("warn", 1)
    assert (
        found.message == "No tasks are claimed by workers whose data roots are not mounted: worker-1@test lacks /data"
    )


@pytest.mark.django_db
def test_tasks_that_a_host_could_not_do_are_reported_with_the_reason(worker):
    spawn_note()
    fail_attempt(claim_one(worker), "unavailable", "data root /data is not mounted", REPORT)
    found = look("hosts")
    assert (found.state, found.value) == ("warn", 1)
    assert found.message == "1 task could not run on a host, for example on test: data root /data is not mounted"
    assert look("workers").state == "ok"
