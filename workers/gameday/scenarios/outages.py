"""The database or Valkey restarted, killed, out of connections, away. All but one need servers of their own."""

from __future__ import annotations

import signal
import time

from tasks_app.postgresql import clock
from workers.gameday import polling, servers
from workers.gameday.drill import Drill, scenario
from workers.gameday.report import OUTAGE_SEC
from workers.gameday.stream import LASTS_SEC, start_stream

AWAY_SEC = 2.0
EXHAUSTED_SEC = 4.0


def restart(drill: Drill, number: signal.Signals) -> None:
    """Stop the server by a signal, leave it away for a moment, and bring it back."""
    stream = start_stream(drill)
    servers.stop_postgres(number)
    time.sleep(AWAY_SEC)
    back_at = servers.bring_up()
    seconds = (stream.all_at_work_after(back_at) - back_at).total_seconds()
    drill.report.recovered(
        "every worker completes tasks again after the database answers", seconds, drill.recovery_bound_sec
    )
    stream.measure_after()
    drill.expect_workers_alive()
    drill.cancel_open_tasks()


@scenario("postgres-restart", servers=True)
def postgres_restart(drill: Drill) -> None:
    """Fast restart of PostgreSQL under a stream of tasks."""
    restart(drill, signal.SIGINT)


@scenario("postgres-crash", servers=True)
def postgres_crash(drill: Drill) -> None:
    """Immediate stop of PostgreSQL under a stream of tasks, and its recovery."""
    restart(drill, signal.SIGQUIT)


@scenario("postgres-frozen", servers=True)
def postgres_frozen(drill: Drill) -> None:
    """PostgreSQL hangs for longer than a lease and goes on: no attempt is lost, nothing is done twice."""
    drill.processes.start_all_ready(2)
    tasks = drill.spawn_many("sleep", [{"seconds": 12}] * 4)
    for task in tasks:
        polling.with_progress(task)
    time.sleep(drill.options.lease_sec)
    servers.freeze_postgres(drill.options.lease_sec + 3)
    moment = clock.now()
    done = polling.finished(drill.spawn("noop", priority=20))
    if done.completed_at is not None:
        seconds = (done.completed_at - moment).total_seconds()
        drill.report.recovered("a new task completes", seconds, drill.recovery_bound_sec)
    for task in tasks:
        polling.finished(task)
        drill.expect_course(task, "completed")
    drill.expect_workers_alive()


@scenario("postgres-away", servers=True, endurance=True)
def postgres_away(drill: Drill) -> None:
    """PostgreSQL away for longer than a lease: no attempt is lost, nothing is done twice."""
    away_sec = OUTAGE_SEC if drill.options.full else drill.options.lease_sec + 3
    drill.report.notes.append(f"away for {away_sec:g} s")
    drill.processes.start_ready()
    ends_meanwhile, goes_on = drill.spawn("sleep", {"seconds": 6}), drill.spawn("sleep", {"seconds": away_sec + 10})
    with_product = drill.spawn("echo", {"outputs": {"image.fits": "pixels"}, "then_sleep_sec": 6})
    polling.child_of(ends_meanwhile), polling.child_of(with_product)
    child = polling.child_of(goes_on)
    servers.stop_postgres(signal.SIGINT)
    time.sleep(away_sec)
    drill.expect("the child of the longest attempt lives on", child.is_running())
    back_at = servers.bring_up()
    done = polling.finished(ends_meanwhile)
    if done.completed_at is not None:
        seconds = (done.completed_at - back_at).total_seconds()
        drill.report.recovered("what ended meanwhile is delivered", seconds, drill.recovery_bound_sec)
    for task in (ends_meanwhile, with_product, goes_on):
        polling.finished(task)
        drill.expect_course(task, "completed")
    drill.expect_workers_alive()


@scenario("backends-terminated")
def backends_terminated(drill: Drill) -> None:
    """The workers' sessions ended by pg_terminate_backend, three times."""
    stream = start_stream(drill)
    for _ in range(3):
        ended = servers.terminate_backends(drill.directory.name)
        drill.expect("sessions were ended", ended > 0, ended)
        moment = clock.now()
        time.sleep(1.0)
    seconds = (stream.all_at_work_after(moment) - moment).total_seconds()
    drill.report.recovered("every worker completes tasks again", seconds, drill.recovery_bound_sec)
    stream.measure_after()
    drill.expect_workers_alive()
    drill.cancel_open_tasks()


@scenario("connections-exhausted", servers=True)
def connections_exhausted(drill: Drill) -> None:
    """No connection left and the workers' own ones ended, for four seconds."""
    stream = start_stream(drill)
    taken = servers.exhaust_connections(drill.directory.name, EXHAUSTED_SEC)
    drill.expect("connections were taken", taken > 50, taken)
    lost = [
        worker.label for worker in drill.processes.workers if "lost, attempts continue" not in worker.log.read_text()
    ]
    drill.expect("the workers found none", not lost, lost)
    moment = clock.now()
    seconds = (stream.all_at_work_after(moment) - moment).total_seconds()
    drill.report.recovered("every worker completes tasks again", seconds, drill.recovery_bound_sec)
    stream.measure_after()
    drill.expect_workers_alive()
    drill.cancel_open_tasks()


@scenario("valkey-stopped", servers=True, endurance=True)
def valkey_stopped(drill: Drill) -> None:
    """Valkey stopped, and started again: work goes on, only live messages are late."""
    away_sec = OUTAGE_SEC if drill.options.full else 0.0
    drill.processes.start_web()
    stream = start_stream(drill, lasts_sec=LASTS_SEC + away_sec)
    servers.stop_valkey()
    time.sleep(away_sec)
    moment = clock.now()
    seconds = (stream.all_at_work_after(moment) - moment).total_seconds()
    drill.report.recovered("every worker completes tasks without it", seconds, drill.recovery_bound_sec)
    stream.measure_after()
    servers.bring_up()
    following = polling.finished(drill.spawn("echo", priority=20))
    drill.expect("work continues when it is back", following.status == "completed", following.status)
    drill.expect_workers_alive()
    drill.cancel_open_tasks()
