"""What native code does to its process: crashes, hangs, eats memory, multiplies, fills the disk."""

from __future__ import annotations

import resource
from pathlib import Path

from workers.gameday import polling
from workers.gameday.drill import Drill, scenario
from workers.gameday.report import GONE_WITHIN_SEC

TOO_MUCH_GB = 0.7
"""More than twice the 0.25 GB that the task name declares, less than the next attempt may take."""
FILE_LIMIT_BYTES = 1_000_000
FILE_CHARACTERS = 1_500_000


@scenario("segfault")
def segfault(drill: Drill) -> None:
    """A crash in C."""
    drill.processes.start_ready()
    task = polling.finished(drill.spawn("segfault", {"succeed_on_attempt": 2}))
    drill.expect_course(task, "killed", "completed")
    first = polling.attempts(task)[0]
    drill.expect("the signal is reported", first.signal == "SIGSEGV", first.signal)
    drill.expect("the stack is kept", "Segmentation fault" in first.stack + first.log_tail, first.log_tail[-200:])
    drill.expect_next_attempt_soon(task)


@scenario("hang-in-c")
def hang_in_c(drill: Drill) -> None:
    """A hang in C that ignores SIGTERM: cancelled, its only slot is free for the next task."""
    drill.processes.start_ready("--concurrency", "1")
    task, following = drill.spawn("hang-in-c"), drill.spawn("echo")
    polling.with_progress(task)
    drill.cancel(task, "hung")
    drill.expect_stopped_in_time(task)
    drill.expect_course(task, "cancelled")
    first = polling.attempts(task)[0]
    drill.expect("it was killed", first.signal == "SIGKILL", first.signal)
    drill.expect("the stack is kept", "hang_in_c" in first.stack + first.log_tail, first.log_tail[-200:])
    drill.expect("the next task runs", polling.finished(following).status == "completed")


@scenario("memory-ceiling")
def memory_ceiling(drill: Drill) -> None:
    """An allocation past the ceiling: stopped as memory, the next attempt may take more."""
    drill.processes.start_ready()
    task = drill.spawn("eat-memory", {"memory_gb": TOO_MUCH_GB, "hold_sec": 5.0})
    declared_gb = task.memory_gb
    task = polling.finished(task)
    drill.expect_course(task, "memory", "completed")
    drill.expect("it asks for more", task.memory_gb > declared_gb, f"{declared_gb} GB, then {task.memory_gb} GB")
    peak = polling.attempts(task)[0].peak_rss_bytes or 0
    drill.expect("the peak is reported", peak > 2e8, peak)
    drill.expect_next_attempt_soon(task)


@scenario("fork-bomb")
def fork_bomb(drill: Drill) -> None:
    """60 grandchildren in sessions of their own that ignore SIGTERM: all are reaped."""
    worker = drill.processes.start_ready()
    task = drill.spawn("fork-bomb", {"processes": 60})
    polling.with_progress(task, "60 processes")
    bomb = polling.last_attempt(task)
    living = len(polling.processes_of(bomb))
    drill.expect("they are running", living > 60, living)
    drill.cancel(task, "multiplies")
    drill.expect_stopped_in_time(task)
    drill.expect_gone([bomb], GONE_WITHIN_SEC, "cancelled")
    drill.expect_course(task, "cancelled")
    second = drill.spawn("fork-bomb", {"processes": 30}, max_retries=0)
    polling.with_progress(second, "30 processes")
    worker.kill()
    drill.expect_gone([polling.last_attempt(second)], GONE_WITHIN_SEC, "worker killed")
    drill.processes.start()
    polling.finished(second)
    drill.expect_course(second, "lost")


@scenario("disk-full")
def disk_full(drill: Drill) -> None:
    """A product that does not fit: a limit on the size of files, lifted later."""
    worker = drill.processes.start_ready()
    before = resource.prlimit(worker.popen.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.popen.pid, resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, before[1]))
    small = drill.spawn("echo", {"outputs": {"small.fits": "x"}})
    large = drill.spawn("echo", {"outputs": {"large.fits": "x" * FILE_CHARACTERS}}, max_retries=20)
    drill.expect("what fits completes", polling.finished(small).status == "completed")
    polling.event(large, "returned")
    resource.prlimit(worker.popen.pid, resource.RLIMIT_FSIZE, before)
    done = polling.finished(large)
    found = polling.outcomes(large)
    drill.expect(
        "it is unavailable here, then completes", set(found[:-1]) == {"unavailable"} and found[-1] == "completed", found
    )
    drill.expect_course(large, *found)
    drill.expect("it costs no retry", done.retry_count == 0, done.retry_count)
    error = polling.attempts(large)[0].error
    drill.expect("the error gives the reason", "File too large" in error, error)
    (path,) = (done.result or {}).get("paths", [""])
    size = len(Path(path).read_text()) if path else 0
    drill.expect("the product is whole", size == FILE_CHARACTERS, size)
    drill.expect("the worker lives", worker.alive)
