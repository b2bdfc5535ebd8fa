"""Workers on hosts whose clocks are wrong. The database's clock, which leases go by, is left alone."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

from workers.gameday import polling
from workers.gameday.catalogue import scenario
from workers.gameday.processes import Hand
from workers.gameday.scenario_run import Game
from workers.gameday.scenarios.native import expect_next_attempt_soon, expect_stopped_in_time

SHIFTED = Path(__file__).resolve().parents[1] / "shifted_clock"
OFF_SEC = 3600


@scenario("clock-moved")
def clock_moved(game: Game) -> None:
    """One worker's clock an hour ahead, another's an hour behind."""
    hands = [_start(game, offset_sec) for offset_sec in (OFF_SEC, -OFF_SEC)]
    long = game.spawn_many("sleep", [{"seconds": game.terms.lease_sec + 2}] * 4)
    failing = game.spawn("fail", {"succeed_on_attempt": 2})
    hung = game.spawn("hang-in-c")
    polling.with_progress(hung)
    game.cancel(hung, "hung")
    expect_stopped_in_time(game, polling.finished(hung))
    polling.finished(failing)
    expect_next_attempt_soon(game, failing)
    game.expect_outcomes(failing, ["error", "completed"])
    for task in long:
        polling.finished(task)
        game.expect_outcomes(task, ["completed"])
        game.expect_verbs(task, ["spawned", "claimed", "completed"])
        (attempt,) = polling.attempts(task)
        wall_sec = attempt.wall_sec or 0.0
        game.expect("times are the database's", 0 < wall_sec < 60, f"{wall_sec:.1f} s")
    for hand, offset_sec in zip(hands, (OFF_SEC, -OFF_SEC), strict=True):
        off_sec = _seen_in(hand) - time.time()
        game.expect("its clock is off", abs(off_sec - offset_sec) < 300, f"{off_sec:.0f} s")
    game.report.notes.append("the host's own clock was left alone: only these workers saw another time")


def _start(game: Game, offset_sec: int) -> Hand:
    environment = {"PYTHONPATH": str(SHIFTED), "GAMEDAY_CLOCK_OFFSET_SEC": str(offset_sec), "TZ": "UTC"}
    environment["PYTHONWARNINGS"] = "ignore"  # compiled modules notice that datetime is another
    return game.crew.start_ready("--concurrency", "3", environment=environment)


def _seen_in(hand: Hand) -> float:
    """Return the time that a worker's first log line carries, in seconds since 1970."""
    stamp = hand.log.read_text().split(",", 1)[0]
    return datetime.fromisoformat(f"{stamp}+00:00").timestamp()
