"""What native code does to its process: crashes, hangs, eats memory, multiplies, fills the disk."""

from __future__ import annotations

import resource
from pathlib import Path

from tasks_app.models import Task
from workers.gameday import polling
from workers.gameday.catalogue import scenario
from workers.gameday.scenario_run import BACKOFF_SEC, Game
from workers.gameday.targets import GONE_WITHIN_SEC, RETRY_WITHIN_SEC

TOO_MUCH_GB = 0.7
"""More than twice the 0.25 GB that the task name declares, less than the next attempt may take."""
FILE_LIMIT_BYTES = 1_000_000
FILE_CHARACTERS = 1_500_000


def expect_next_attempt_soon(game: Game, task: Task) -> None:
    """Note how long after the end of the first attempt the second began; the backoff counts."""
    first, second = polling.attempts(task)[:2]
    if first.ended_at is not None:
        seconds = (second.started_at - first.ended_at).total_seconds()
        game.report.recovered("the next attempt has started", seconds, BACKOFF_SEC + RETRY_WITHIN_SEC)


def expect_stopped_in_time(game: Game, task: Task) -> None:
    """Note how long after the request the task was cancelled, which is when its slot is free."""
    asked, ended = polling.event(task, "cancel_requested"), polling.event(task, "cancelled")
    seconds = (ended.created_at - asked.created_at).total_seconds()
    game.report.recovered(f"the cancelled {task.task_name} has freed its slot", seconds, game.stop_bound_sec)


@scenario("segfault")
def segfault(game: Game) -> None:
    """A crash in C."""
    game.crew.start_ready()
    task = polling.finished(game.spawn("segfault", {"succeed_on_attempt": 2}))
    game.expect_outcomes(task, ["killed", "completed"])
    game.expect_verbs(task, ["spawned", "claimed", "retrying", "claimed", "completed"])
    first = polling.attempts(task)[0]
    game.expect("the signal is reported", first.signal == "SIGSEGV", first.signal)
    game.expect("the stack is kept", "Segmentation fault" in first.stack + first.log_tail, first.log_tail[-200:])
    expect_next_attempt_soon(game, task)


@scenario("hang-in-c")
def hang_in_c(game: Game) -> None:
    """A hang in C, deaf to SIGTERM: cancelled, its only slot is free for the next task."""
    game.crew.start_ready("--concurrency", "1")
    task, following = game.spawn("hang-in-c"), game.spawn("echo")
    polling.with_progress(task)
    game.cancel(task, "hung")
    expect_stopped_in_time(game, polling.finished(task))
    game.expect_outcomes(task, ["cancelled"])
    game.expect_verbs(task, ["spawned", "claimed", "cancel_requested", "cancelled"])
    first = polling.attempts(task)[0]
    game.expect("it was killed", first.signal == "SIGKILL", first.signal)
    game.expect("the stack is kept", "hang_in_c" in first.stack + first.log_tail, first.log_tail[-200:])
    game.expect("the next task runs", polling.finished(following).status == "completed")


@scenario("memory-ceiling")
def memory_ceiling(game: Game) -> None:
    """An allocation past the ceiling: stopped as memory, the next attempt may take more."""
    game.crew.start_ready()
    task = game.spawn("eat-memory", {"memory_gb": TOO_MUCH_GB, "hold_sec": 5.0})
    declared_gb = task.memory_gb
    task = polling.finished(task)
    game.expect_outcomes(task, ["memory", "completed"])
    game.expect_verbs(task, ["spawned", "claimed", "retrying", "claimed", "completed"])
    game.expect("it asks for more", task.memory_gb > declared_gb, f"{declared_gb} GB, then {task.memory_gb} GB")
    peak = polling.attempts(task)[0].peak_rss_bytes or 0
    game.expect("the peak is reported", peak > 2e8, peak)
    expect_next_attempt_soon(game, task)


@scenario("fork-bomb")
def fork_bomb(game: Game) -> None:
    """60 grandchildren, each in a session of its own and deaf to SIGTERM, are all reaped."""
    worker = game.crew.start_ready()
    task = game.spawn("fork-bomb", {"processes": 60})
    polling.with_progress(task, "60 processes")
    bomb = polling.last_attempt(task)
    living = len(polling.processes_of(bomb))
    game.expect("they live", living > 60, living)
    game.cancel(task, "multiplies")
    expect_stopped_in_time(game, polling.finished(task))
    game.expect_gone([bomb], GONE_WITHIN_SEC, "cancelled")
    game.expect_verbs(task, ["spawned", "claimed", "cancel_requested", "cancelled"])
    second = game.spawn("fork-bomb", {"processes": 30}, max_retries=0)
    polling.with_progress(second, "30 processes")
    worker.kill()
    game.expect_gone([polling.last_attempt(second)], GONE_WITHIN_SEC, "worker killed")
    game.crew.start()
    polling.finished(second)
    game.expect_outcomes(second, ["lost"])
    game.expect_verbs(second, ["spawned", "claimed", "failed"])


@scenario("disk-full")
def disk_full(game: Game) -> None:
    """A product that does not fit: a limit on the size of files, lifted later."""
    worker = game.crew.start_ready()
    before = resource.prlimit(worker.popen.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.popen.pid, resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, before[1]))
    text = "x" * FILE_CHARACTERS
    small, large = (
        game.spawn("echo", {"outputs": {"small.fits": "x"}}),
        game.spawn("echo", {"outputs": {"large.fits": text}}, max_retries=20),
    )
    game.expect("what fits completes", polling.finished(small).status == "completed")
    polling.event(large, "returned")
    resource.prlimit(worker.popen.pid, resource.RLIMIT_FSIZE, before)
    done = polling.finished(large)
    found = polling.outcomes(large)
    game.expect(
        "it is unavailable here, then completes", set(found[:-1]) == {"unavailable"} and found[-1] == "completed", found
    )
    wanted = ["spawned", *["claimed", "returned"] * (len(found) - 1), "claimed", "completed"]
    game.expect_verbs(large, wanted)
    game.expect("it costs no retry", done.retry_count == 0, done.retry_count)
    game.expect(
        "the error says why", "File too large" in polling.attempts(large)[0].error, polling.attempts(large)[0].error
    )
    (path,) = (done.result or {}).get("paths", [""])
    size = len(Path(path).read_text()) if path else 0
    game.expect("the product is whole", size == FILE_CHARACTERS, size)
    game.expect("the worker lives", worker.alive)
