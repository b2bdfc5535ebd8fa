"""The database or Valkey restarted, killed, out of connections, away. All but one need servers of their own."""

from __future__ import annotations

import signal

from tasks_app.postgresql import clock
from workers.gameday import polling, servers
from workers.gameday.catalogue import scenario
from workers.gameday.scenario_run import Game, pause
from workers.gameday.stream import LASTS_SEC, Stream
from workers.gameday.targets import OUTAGE_SEC

AWAY_SEC = 2.0
EXHAUSTED_SEC = 4.0


def under_stream(game: Game, lasts_sec: float = LASTS_SEC) -> Stream:
    """Start two workers and a stream of tasks, and measure how it goes."""
    for hand in (game.crew.start(), game.crew.start()):
        game.crew.wait_ready(hand)
    stream = Stream(game, lasts_sec=lasts_sec)
    stream.watch_before()
    return stream


def expect_workers_to_live(game: Game) -> None:
    """No outage ends a worker."""
    dead = [hand.label for hand in game.crew.hands if not hand.alive]
    game.expect("every worker lives", not dead, dead)


def restart(game: Game, number: signal.Signals) -> None:
    """Stop the server by a signal, leave it away for a moment, and bring it back."""
    stream = under_stream(game)
    servers.stop_postgres(number)
    pause(AWAY_SEC)
    back_at = servers.bring_up()
    seconds = (stream.all_at_work_after(back_at) - back_at).total_seconds()
    game.report.recovered(
        "every worker completes tasks again after the database answers", seconds, game.recovery_bound_sec
    )
    stream.watch_after()
    expect_workers_to_live(game)
    stream.end()


@scenario("postgres-restart", servers=True)
def postgres_restart(game: Game) -> None:
    """Fast restart of PostgreSQL under a stream of tasks."""
    restart(game, signal.SIGINT)


@scenario("postgres-crash", servers=True)
def postgres_crash(game: Game) -> None:
    """Immediate stop of PostgreSQL under a stream of tasks, and its recovery."""
    restart(game, signal.SIGQUIT)


@scenario("postgres-frozen", servers=True)
def postgres_frozen(game: Game) -> None:
    """PostgreSQL hangs for longer than a lease and goes on: no attempt is lost, nothing is done twice."""
    for hand in (game.crew.start(), game.crew.start()):
        game.crew.wait_ready(hand)
    tasks = game.spawn_many("sleep", [{"seconds": 12}] * 4)
    for task in tasks:
        polling.with_progress(task)
    pause(game.terms.lease_sec)
    servers.freeze_postgres(game.terms.lease_sec + 3)
    moment = clock.now()
    done = polling.finished(game.spawn("noop", priority=20))
    if done.completed_at is not None:
        seconds = (done.completed_at - moment).total_seconds()
        game.report.recovered("a new task completes", seconds, game.recovery_bound_sec)
    for task in tasks:
        polling.finished(task)
        game.expect_outcomes(task, ["completed"])
        game.expect_verbs(task, ["spawned", "claimed", "completed"])
    expect_workers_to_live(game)


@scenario("postgres-away", servers=True, endurance=True)
def postgres_away(game: Game) -> None:
    """PostgreSQL away for longer than a lease: no attempt is lost, nothing is done twice."""
    away_sec = OUTAGE_SEC if game.terms.full else game.terms.lease_sec + 3
    game.report.notes.append(f"away for {away_sec:g} s")
    game.crew.start_ready()
    ends_meanwhile, goes_on = game.spawn("sleep", {"seconds": 6}), game.spawn("sleep", {"seconds": away_sec + 10})
    with_product = game.spawn("echo", {"outputs": {"image.fits": "pixels"}, "then_sleep_sec": 6})
    polling.child_of(ends_meanwhile), polling.child_of(with_product)
    child = polling.child_of(goes_on)
    servers.stop_postgres(signal.SIGINT)
    pause(away_sec)
    game.expect("the child of the longest attempt lives on", child.is_running())
    back_at = servers.bring_up()
    done = polling.finished(ends_meanwhile)
    if done.completed_at is not None:
        seconds = (done.completed_at - back_at).total_seconds()
        game.report.recovered("what ended meanwhile is delivered", seconds, game.recovery_bound_sec)
    for task in (ends_meanwhile, with_product, goes_on):
        polling.finished(task)
        game.expect_outcomes(task, ["completed"])
        game.expect_verbs(task, ["spawned", "claimed", "completed"])
    expect_workers_to_live(game)


@scenario("backends-terminated")
def backends_terminated(game: Game) -> None:
    """The workers' sessions ended by pg_terminate_backend, three times."""
    stream = under_stream(game)
    for _ in range(3):
        ended = servers.terminate_backends(game.directory.name)
        game.expect("sessions were ended", ended > 0, ended)
        moment = clock.now()
        pause(1.0)
    seconds = (stream.all_at_work_after(moment) - moment).total_seconds()
    game.report.recovered("every worker completes tasks again", seconds, game.recovery_bound_sec)
    stream.watch_after()
    expect_workers_to_live(game)
    stream.end()


@scenario("connections-exhausted", servers=True)
def connections_exhausted(game: Game) -> None:
    """No connection left and the workers' own ones ended, for four seconds."""
    stream = under_stream(game)
    taken = servers.exhaust_connections(game.directory.name, EXHAUSTED_SEC)
    game.expect("connections were taken", taken > 50, taken)
    lost = [hand.label for hand in game.crew.hands if "lost, attempts continue" not in hand.log.read_text()]
    game.expect("the workers found none", not lost, lost)
    moment = clock.now()
    seconds = (stream.all_at_work_after(moment) - moment).total_seconds()
    game.report.recovered("every worker completes tasks again", seconds, game.recovery_bound_sec)
    stream.watch_after()
    expect_workers_to_live(game)
    stream.end()


@scenario("valkey-stopped", servers=True, endurance=True)
def valkey_stopped(game: Game) -> None:
    """Valkey stopped, and started again: work goes on, only live messages are late."""
    away_sec = OUTAGE_SEC if game.terms.full else 0.0
    game.crew.start_web()
    stream = under_stream(game, lasts_sec=LASTS_SEC + away_sec)
    servers.stop_valkey()
    pause(away_sec)
    moment = clock.now()
    seconds = (stream.all_at_work_after(moment) - moment).total_seconds()
    game.report.recovered("every worker completes tasks without it", seconds, game.recovery_bound_sec)
    stream.watch_after()
    servers.bring_up()
    following = polling.finished(game.spawn("echo", priority=20))
    game.expect("work continues when it is back", following.status == "completed", following.status)
    expect_workers_to_live(game)
    stream.end()
