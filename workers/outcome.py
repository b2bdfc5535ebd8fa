"""How an attempt ended, told from what the child replied, how it died, and what the supervisor had done to it. Pure."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal

from tasks_app import cleaning
from workers.process import protocol
from workers.process.guardian import STOP_SIGNALS
from workers.process.protocol import Failure, ProductNote, Reply, Result

StopClass = Literal["error", "timeout", "idle_timeout", "cancelled", "drained", "memory", "lost", "unavailable"]
FailureClass = Literal[
    "error",
    "invalid",
    "no_work",
    "timeout",
    "killed",
    "memory",
    "cancelled",
    "drained",
    "lost",
    "idle_timeout",
    "unavailable",
]


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
DRAINED = Stop(failure_class="drained", message="the worker was stopped; the task costs no retry")
DRAINED_TOGETHER = Stop(
    failure_class="drained", message="a stop signal ended it together with its worker; the task costs no retry"
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The verdict on one attempt; `failure_class` is None when it completed."""

    failure_class: FailureClass | None
    message: str = ""
    traceback: str = ""
    result: Result | None = None
    final: bool = False
    """Whether the task is not tried again, whatever the policy says of the class."""

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

    @property
    def told(self) -> str:
        """The peak and the limit."""
        return f"its peak was {self.peak_bytes / 1e9:.2f} GB, its limit {self.limit_gb:.2f} GB"


def judge(
    *, reply: Reply | None, exit: Exit, stop: Stop | None, memory: Memory | None = None, core_hint: str = ""
) -> Outcome:
    """Decide how the attempt ended.

    A result that arrived whole counts, even if the child crashed or was stopped right after it: the child sends it
    last, when every output is on the disk. Only a wish to cancel, or a lost claim, goes before it.
    """
    if stop is not None and (stop.failure_class in ("cancelled", "lost") or not isinstance(reply, Result)):
        return Outcome(failure_class=stop.failure_class, message=stop.message)
    if isinstance(reply, Result):
        return Outcome(failure_class=None, result=reply)
    if isinstance(reply, Failure):
        message = reply.message
        if reply.failure_class == "memory" and memory is not None:
            message = f"{message} ({memory.told})"
        return Outcome(failure_class=reply.failure_class, message=message, traceback=reply.traceback, final=reply.final)
    return _silent_end(exit, memory or Memory(), core_hint)


def _silent_end(exit: Exit, memory: Memory, core_hint: str) -> Outcome:
    """Judge a child that ended by itself without a reply."""
    if exit.signal == signal.SIGKILL and memory.oom_kills:
        message = f"killed by the kernel, which ran out of memory ({memory.told})"
        return Outcome(failure_class="memory", message=message)
    if exit.signal is not None:
        hint = ""
        if exit.signal in CRASHES:
            hint = f", a crash in native code: its stack is kept and ends the log; {core_hint}".rstrip("; ")
        elif exit.signal in (signal.SIGKILL, *STOP_SIGNALS):
            hint = ", by somebody outside the queue"
        return Outcome(failure_class="killed", message=f"killed by {signal_name(exit.signal)}{hint}")
    if exit.exit_code == protocol.CANNOT_REPLY:
        message = "the handler closed the pipe to the worker, so that its result could not be sent"
        return Outcome(failure_class="error", message=message)
    if exit.exit_code is not None:
        return Outcome(
            failure_class="error",
            message=f"the handler's process exited with code {exit.exit_code} before it had a result",
        )
    return Outcome(failure_class="killed", message="the attempt's guardian was killed")


CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL})


def signal_name(number: int) -> str:
    """Return SIGSEGV for 11, and so on."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def published_products(products: tuple[ProductNote, ...], directory: str) -> list[dict[str, object]]:
    """Return the products as the queue stores them, with their absolute paths below the published directory."""
    return [
        {**product.model_dump(exclude={"path"}), "inputs": list(product.inputs), "path": f"{directory}/{product.path}"}
        for product in products
    ]
