"""All that may be said of a new task: type, bounds, default and help of each option, once.

The request bodies of the API and their OpenAPI schema, the arguments of the shell, the client's `NewTask`, the forms of
the console, run plans and schedules are this model or are made from it. No Django: the client uses it too.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BeforeValidator, Field, ValidationInfo, field_validator

from tasks_app import validation
from tasks_app.validation import PRIORITY_DEFAULT, PRIORITY_LEAST, PRIORITY_MOST, Checked, Fault, shown

TIMEOUT_MOST_SEC = 7 * 86_400
WAIT_MOST_SEC = 366 * 86_400
AHEAD_MOST_DAYS = 3_660
"""How far ahead a task may be meant to run or expire; what is added to it stays a moment that can be written."""
KEY_CHARS = 200
BATCH_MOST = 500
"""How many tasks one request spawns."""


def _moment(given: Any) -> datetime:
    moment = given
    if isinstance(given, str):
        with contextlib.suppress(ValueError):
            moment = datetime.fromisoformat(given.strip())
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError(f"must be a moment with its time zone, as in 2025-11-18T10:30:00Z (got {shown(given)})")
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        moment = datetime.max.replace(tzinfo=UTC)
    if moment > datetime.now(UTC) + timedelta(days=AHEAD_MOST_DAYS):
        raise ValueError(f"must be within {AHEAD_MOST_DAYS} days from now (got {given})")
    return moment


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]


class Join(Checked):
    """When a task stops waiting for those it depends on: "all 12, or after 20 min at least 9".

    Without a quorum it waits for all. A quorum alone is enough at once; with a deadline, from the deadline on, or as
    soon as no parent is still to come.
    """

    deadline_sec: float | None = Field(
        default=None,
        strict=True,
        ge=0,
        le=WAIT_MOST_SEC,
        description="Until then it waits for all parents, from then on for the quorum. Needs a quorum.",
    )
    quorum: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=10_000,
        validate_default=True,
        description="How many completed parents are enough; absent: all.",
    )

    @field_validator("quorum")
    @classmethod
    def _deadline_needs_quorum(cls, quorum: int | None, info: ValidationInfo) -> int | None:
        if quorum is None and info.data.get("deadline_sec") is not None:
            raise ValueError("must be given where there is a deadline")
        return quorum


class ScheduledOptions(Checked):
    """The options that a schedule has too."""

    task_name: str = Field(min_length=1, max_length=100, description="The registered name of what is to be done.")
    params: dict[str, Any] = Field(default_factory=dict, description="Validated by the task name's params model.")
    queue_name: Annotated[str | None, Fault(validation.fault_of_name)] = Field(
        default=None,
        max_length=validation.QUEUE_CHARS,
        pattern=f"^{validation.NAME}$",
        description="The queue it enters; default: ABSURD_QUEUE_NAME.",
    )
    priority: int = Field(
        default=PRIORITY_DEFAULT,
        strict=True,
        ge=PRIORITY_LEAST,
        le=PRIORITY_MOST,
        description="15 to 20 go before all others; below, one step is worth one minute of waiting.",
    )


class TaskOptions(ScheduledOptions):
    """What may be said of a new task."""

    timeout_sec: int | None = Field(
        default=None, strict=True, ge=1, le=TIMEOUT_MOST_SEC, description="Longest time one attempt may take."
    )
    max_retries: int | None = Field(
        default=None, strict=True, ge=0, le=100, description="How many failed attempts are followed by another."
    )
    scheduled_at: Moment | None = Field(default=None, description="It is not claimed before this moment.")
    expires_at: Moment | None = Field(default=None, description="It fails if no attempt has started by then.")
    queue_timeout_sec: float | None = Field(
        default=None,
        strict=True,
        ge=0.001,
        le=WAIT_MOST_SEC,
        description="It fails if no attempt has started within this time, from the spawn or from scheduled_at.",
    )
    total_timeout_sec: float | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=WAIT_MOST_SEC,
        description="No attempt starts or continues after this time, counted from the spawn or from scheduled_at.",
    )
    idle_timeout_sec: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=TIMEOUT_MOST_SEC,
        description="An attempt that shows no sign of work for this long is stopped.",
    )
    concurrency_key: Annotated[str, Fault(validation.fault_of_key)] = Field(
        default="",
        max_length=validation.KEY_CHARS,
        pattern=f"^({validation.KEY})?$",
        description="It shares a limit with all tasks of the same key.",
    )
    depends_on: tuple[UUID, ...] = Field(default=(), max_length=1000, description="Tasks that must complete first.")
    depends_on_runs: tuple[UUID, ...] = Field(
        default=(), max_length=100, description="Runs all of whose present tasks must complete first."
    )
    join: Join | None = Field(default=None, description="When it stops waiting for the tasks it depends on.")
    idempotency_key: str | None = Field(
        default=None,
        min_length=1,
        max_length=KEY_CHARS,
        description="A spawn that is repeated with the same key finds the task that the first one made.",
    )


PARTS = ("params", "priority", "timeout_sec", "max_retries", "idle_timeout_sec", "concurrency_key")
"""Options that a task's row keeps as they were given, and that its copy takes over."""
