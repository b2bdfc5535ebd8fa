"""How an attempt ended, decided from what the child replied, how it died, and what the supervisor had done to it."""

from __future__ import annotations

import resource
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks_app import cleaning
from workers.process import protocol
from workers.process.guardian import STOP_SIGNALS
from workers.process.protocol import Failure, Reply, Result

StopClass = Literal["error", "timeout", "idle_timeout", "cancelled", "drained", "memory", "lost", "unavailable"]
FailureClass = Literal[StopClass, "invalid", "no_work", "killed"]

CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL})
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


@dataclass(frozen=True, kw_only=True)
class Exit:
    """What the guardian reports of the child's end; no code and no signal means that the guardian itself died."""

    exit_code: int | None = None
    signal: int | None = None
    peak_rss_bytes: int = 0
    cpu_sec: float = 0.0
    read_bytes: int = 0
    write_bytes: int = 0
    orphans: int = 0
    core_dumped: bool = False
    stack: str = ""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Why the supervisor had the attempt stopped."""

    failure_class: StopClass
    message: str
    keep_products: bool = True
    """Whether what it has written so far stays for inspection."""


CANCELLED = Stop(failure_class="cancelled", message="cancelled on request")
LOST = Stop(failure_class="lost", message="the claim was lost")
DRAINED = Stop(failure_class="drained", message="the worker was stopped; no retry is used up")
DRAINED_TOGETHER = Stop(failure_class="drained", message="a stop signal ended it with its worker; no retry is used up")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The verdict on one attempt; `failure_class` is None when it completed."""

    failure_class: FailureClass | None
    message: str = ""
    traceback: str = ""
    result: Result | None = None
    final: bool = False
    """Whether the task is not tried again, whatever the policy of the class."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", cleaning.text(self.message))
        object.__setattr__(self, "traceback", cleaning.text(self.traceback, cleaning.TRACEBACK_CHARS_MOST))


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is known of an attempt's memory, for the message."""

    peak_bytes: int = 0
    limit_gb: float = 0.0
    oom_kills: int = 0
    """How many processes the kernel killed for want of memory on this host while the attempt ran."""

    def __str__(self) -> str:
        return f"its peak was {self.peak_bytes / 1e9:.2f} GB, its limit {self.limit_gb:.2f} GB"


def judge(
    *, reply: Reply | None, exit: Exit, stop: Stop | None, memory: Memory | None = None, started: bool = True
) -> Outcome:
    """Decide how the attempt ended; `started` says whether the child had come as far as the handler.

    A result that arrived whole counts, even if the child crashed or was stopped right after it: the child sends it
    last, when every output is on the disk. Only a request to cancel, or a lost claim, goes before it.
    """
    if stop is not None and (stop.failure_class in ("cancelled", "lost") or not isinstance(reply, Result)):
        return Outcome(failure_class=stop.failure_class, message=stop.message)
    if isinstance(reply, Result):
        return Outcome(failure_class=None, result=reply)
    if isinstance(reply, Failure):
        message = reply.message
        if reply.failure_class == "memory" and memory is not None:
            message = f"{message} ({memory})"
        return Outcome(failure_class=reply.failure_class, message=message, traceback=reply.traceback, final=reply.final)
    if exit.signal is not None:
        return _killed(exit, exit.signal, memory or Memory())
    if exit.exit_code == protocol.CANNOT_REPLY:
        message = "the handler closed the pipe to the worker, so that its result could not be sent"
        return Outcome(failure_class="error", message=message)
    if exit.exit_code is not None and not started:
        message = f"the child process exited with code {exit.exit_code} before it reached the handler: see its log"
        return Outcome(failure_class="unavailable", message=message)
    if exit.exit_code is not None:
        message = f"the handler's process exited with code {exit.exit_code} without a result"
        return Outcome(failure_class="error", message=message)
    return Outcome(failure_class="killed", message="the attempt's guardian was killed")


def _killed(exit: Exit, number: int, memory: Memory) -> Outcome:
    if number == signal.SIGKILL and memory.oom_kills:
        message = f"killed by the kernel, which ran out of memory ({memory})"
        return Outcome(failure_class="memory", message=message)
    hint = ""
    if number in CRASHES:
        hint = f", a crash in native code: its stack is kept and ends the log; {core_hint(exit.core_dumped)}"
    elif number in (signal.SIGKILL, *STOP_SIGNALS):
        hint = ", by a process outside the queue"
    return Outcome(failure_class="killed", message=f"killed by {signal_name(number)}{hint}")


def core_hint(dumped: bool) -> str:
    """Return where the core of a crashed child is, or how to get one at the next crash."""
    try:
        pattern = CORE_PATTERN.read_text().strip()
    except OSError:
        pattern = ""
    if dumped and pattern.startswith("|"):
        return f"its core went to `{pattern[1:].split(' ', 1)[0]}`"
    if dumped and pattern.startswith("/"):
        return f"its core is at {pattern}"
    if dumped:
        return "its core went with its scratch directory: set kernel.core_pattern to an absolute path to keep it"
    if resource.getrlimit(resource.RLIMIT_CORE)[0] == 0:
        return "no core was written: start the worker with `ulimit -c unlimited` (LimitCORE=infinity) to get one"
    return f"no core was written, though kernel.core_pattern is {pattern!r}"


def signal_name(number: int) -> str:
    """Return SIGSEGV for 11, and so on."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
