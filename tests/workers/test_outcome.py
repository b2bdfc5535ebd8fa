from __future__ import annotations

import signal

import pytest

from workers.process import outcome as outcomes
from workers.process.outcome import Exit, Memory, Stop, judge
from workers.process.protocol import Failure, Result

DONE = Result(result={"value": 1})
REFUSED = Failure(failure_class="invalid", message="not a tile")
CRASHED = Exit(signal=signal.SIGSEGV)
KILLED = Exit(signal=signal.SIGKILL)


def stop(failure_class):
    return Stop(failure_class=failure_class, message="because")


@pytest.mark.parametrize(
    ("reply", "exit", "stopped", "oom_kills", "expected"),
    [
        (DONE, Exit(exit_code=0), None, 0, None),
        (REFUSED, Exit(exit_code=0), None, 0, "invalid"),
        (None, Exit(exit_code=3), None, 0, "error"),
        (None, CRASHED, None, 0, "killed"),
        (None, KILLED, None, 0, "killed"),
        (None, KILLED, None, 1, "memory"),
        (None, CRASHED, None, 1, "killed"),
        (None, Exit(), None, 0, "killed"),
        (None, KILLED, stop("timeout"), 0, "timeout"),
        (None, KILLED, stop("drained"), 1, "drained"),
        (REFUSED, KILLED, stop("memory"), 0, "memory"),
    ],
)
def test_how_an_attempt_ended_is_decided(reply, exit, stopped, oom_kills, expected):
    assert judge(reply=reply, exit=exit, stop=stopped, memory=Memory(oom_kills=oom_kills)).failure_class == expected


def test_a_child_that_ends_before_it_reaches_the_handler_is_the_hosts_fault():
    assert judge(reply=None, exit=Exit(exit_code=1), stop=None, started=False).failure_class == "unavailable"
    assert judge(reply=None, exit=CRASHED, stop=None, started=False).failure_class == "killed"


def test_a_whole_result_outlives_a_crash_in_the_tear_down():
    outcome = judge(reply=DONE, exit=CRASHED, stop=None)
    assert (outcome.failure_class, outcome.result) == (None, DONE)


@pytest.mark.parametrize(
    ("reason", "counts"), [("timeout", True), ("drained", True), ("cancelled", False), ("lost", False)]
)
def test_a_result_that_comes_while_stopping_counts_unless_it_is_not_wanted(reason, counts):
    outcome = judge(reply=DONE, exit=KILLED, stop=stop(reason))
    assert (outcome.failure_class is None) == counts


def test_the_message_says_what_helps():
    memory = Memory(peak_bytes=6_200_000_000, limit_gb=5.0, oom_kills=1)
    crash = judge(reply=None, exit=CRASHED, stop=None).message
    assert crash.startswith("killed by SIGSEGV") and crash.endswith(outcomes.core_hint(False))
    for outcome in (
        judge(reply=None, exit=KILLED, stop=None, memory=memory),
        judge(reply=Failure(failure_class="memory", message="out of memory"), exit=KILLED, stop=None, memory=memory),
    ):
        assert outcome.failure_class == "memory"
        assert outcome.message.endswith("(its peak was 6.20 GB, its limit 5.00 GB)")


def test_where_a_core_is_or_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setattr(outcomes, "CORE_PATTERN", tmp_path / "core_pattern")
    outcomes.CORE_PATTERN.write_text("|/usr/lib/systemd/systemd-coredump %P\n")
    assert outcomes.core_hint(True) == "its core went to `/usr/lib/systemd/systemd-coredump`"
    outcomes.CORE_PATTERN.write_text("/var/cores/%p\n")
    assert outcomes.core_hint(True) == "its core is at /var/cores/%p"
    outcomes.CORE_PATTERN.write_text("core\n")
    assert "core_pattern" in outcomes.core_hint(True)
    assert "no core was written" in outcomes.core_hint(False)
