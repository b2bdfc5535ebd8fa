"""The messages between worker and child: one request, progress lines, one reply. JSON, versioned, on inherited pipes.

Never on stdout, which belongs to whatever native code wants to print. No Django here: the child imports this module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from tasks_app import cleaning

VERSION: Literal[1] = 1

REQUEST_FD = "ABSURD_REQUEST_FD"
REPLY_FD = "ABSURD_REPLY_FD"
WARM = "ABSURD_WARM"
"""Names the module that a spare imports before it waits for its request."""

CANNOT_REPLY = 97
"""The child's exit code when its handler has taken away the pipe for its reply."""

LINE_BYTES_MOST = 32 * 1024 * 1024
"""A longer line is no message but a runaway, and the worker must not collect it."""

PROGRESS_CHARS = 300
METRIC_NAME_CHARS = 100
METRICS_MOST = 50
"""Of a handler that reports more numbers than this the first are shown."""

ReplyClass = Literal["error", "invalid", "no_work", "memory", "unavailable"]


class Message(BaseModel):
    """Base of all messages: immutable, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Request(Message):
    """All that the child needs to run one attempt."""

    version: Literal[1] = VERSION
    task_id: str
    attempt: int
    task_name: str
    handler: str
    params: dict[str, Any]
    attempt_dir: str
    published_dir: str
    data_roots: tuple[str, ...]
    other_roots: tuple[str, ...] = ()
    """Data roots of other hosts only."""
    log_path: str
    check_log: str | None = None
    """A function that refuses what the handler wrote into the log; see TaskSpec."""
    cores: int
    memory_gb: float
    traceparent: str = ""
    """The span of the attempt, where spans are recorded."""
    watch_inputs: bool = True
    """Whether the attempt has failed when a file that its params name changed while it ran."""
    writable: tuple[str, ...] | None = None
    """The only places where it may write; None: wherever its account may."""
    environment: dict[str, str] = Field(default_factory=dict)
    """What differs from attempt to attempt, for a child that was started before there was one."""


class Ready(Message):
    """A spare has imported what it should and waits for its request."""

    type: Literal["ready"] = "ready"
    pid: int


class Started(Message):
    """The child has taken its request: from here on its end is the attempt's end."""

    type: Literal["started"] = "started"


class ProductNote(Message):
    """One product as the child leaves it, ready to be renamed into place."""

    kind: str
    path: str
    """Relative to the products directory."""
    metrics: dict[str, Any] = Field(default_factory=dict)
    verdict: str | None = None
    inputs: tuple[str, ...] = ()
    size_bytes: int
    checksum: str


class Progress(Message):
    """How far the handler is: a fraction from 0 to 1 or None, a message, and numbers of its own."""

    type: Literal["progress"] = "progress"
    fraction: float | None = None
    message: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)

    @classmethod
    def of(cls, fraction: float | None, message: str, metrics: Mapping[str, float]) -> Progress:
        """Return what a handler reports, cleaned and brought within bounds; raises nothing, whatever it is given."""
        known = _number(fraction)
        first = islice(metrics.items(), METRICS_MOST)
        named = {cleaning.text(name, METRIC_NAME_CHARS): _number(value) for name, value in first}
        return cls(
            fraction=None if known is None else min(1.0, max(0.0, known)),
            message=cleaning.text(message, PROGRESS_CHARS),
            metrics={name: value for name, value in named.items() if value is not None},
        )


class Result(Message):
    """The handler returned; every output is on the disk and summed."""

    type: Literal["result"] = "result"
    version: Literal[1] = VERSION
    result: dict[str, Any]
    products: tuple[ProductNote, ...] = ()


class Failure(Message):
    """The handler did not return a result."""

    type: Literal["failure"] = "failure"
    version: Literal[1] = VERSION
    failure_class: ReplyClass
    message: str
    traceback: str = ""
    final: bool = False
    """Whether it is not to be tried again, whatever the policy of its class."""


Reply = Result | Failure

ChildMessage = Ready | Started | Progress | Result | Failure

_MESSAGES: TypeAdapter[ChildMessage] = TypeAdapter(Annotated[ChildMessage, Field(discriminator="type")])


def _number(value: object) -> float | None:
    """Return a finite number, or None."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except Exception:
        return None
    return number if math.isfinite(number) else None


def encode(message: ChildMessage) -> bytes:
    """Return the message as one line."""
    return message.model_dump_json().encode() + b"\n"


def decode(line: bytes) -> ChildMessage:
    """Return the message of a line. Raises ValueError when it is none."""
    return _MESSAGES.validate_json(line)
