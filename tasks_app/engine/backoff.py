"""What is retried, after how long, and who goes first. Pure functions."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tasks_app.validation import PRIORITY_LEAST, PRIORITY_MOST

CRITICAL_FROM = 15
CRITICAL_BAND_MS = 10**13
"""Wider than any time in milliseconds, so that each critical priority forms a band of its own."""
PRIORITY_STEP_MS = 60_000
BACKOFF_BASE_SEC = 5.0
BACKOFF_CAP_SEC = 600.0
CRASHES_TO_QUARANTINE = 3

MEMORY_GROWTH = 1.5
"""An attempt that ran out of memory is followed by one that may have this many times more."""

CRASHES = frozenset({"killed", "memory", "lost"})
RETRIED = CRASHES | {"error", "timeout", "idle_timeout"}


RANK_OFFSETS_MS = {
    priority: -(priority - CRITICAL_FROM + 1) * CRITICAL_BAND_MS
    if priority >= CRITICAL_FROM
    else (CRITICAL_FROM - 1 - priority) * PRIORITY_STEP_MS
    for priority in range(PRIORITY_LEAST, PRIORITY_MOST + 1)
}
"""What the rank of each priority adds to the moment from which a task may be claimed."""


def rank(priority: int, runnable_at: datetime) -> int:
    """Return the place in the queue; the smallest goes first.

    Priorities 15 to 20 run before all others, by priority and then by time. The rest get a virtual deadline: each step
    of priority is worth one minute of waiting, so that waiting tasks age and nobody starves.
    """
    return int(runnable_at.timestamp() * 1000) + RANK_OFFSETS_MS[priority]


def backoff_sec(
    retry_count: int,
    *,
    base_sec: float = BACKOFF_BASE_SEC,
    cap_sec: float = BACKOFF_CAP_SEC,
    chance: float | None = None,
) -> float:
    """Return the seconds to wait before the given retry (1 is the first): exponential with full jitter, at least half
    a second so that a failing task never spins.

    `chance` from 0 to 1 replaces the random draw.
    """
    draw = random.random() if chance is None else chance  # noqa: S311 - jitter, not a secret
    ceiling = min(cap_sec, base_sec * 2.0 ** min(retry_count - 1, 30))
    return max(0.5, draw * ceiling)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of a task whose attempt did not complete."""

    to: Literal["pending", "failed", "completed", "cancelled"]
    counts_as_retry: bool = False
    counts_as_crash: bool = False
    quarantined: bool = False


def judge(
    failure_class: str,
    *,
    retry_count: int,
    max_retries: int,
    crash_count: int,
    cancel_requested: bool,
    retried: Collection[str] = RETRIED,
) -> Verdict:
    """Decide what follows an attempt of the given failure class.

    `crash_count` includes the claim that ends now: claims count as crashes until they end otherwise.
    """
    crashed = failure_class in CRASHES
    if failure_class == "no_work":
        return Verdict(to="completed")
    if cancel_requested or failure_class == "cancelled":
        return Verdict(to="cancelled", counts_as_crash=crashed)
    if failure_class in ("drained", "unavailable"):
        return Verdict(to="pending")
    if crashed and crash_count >= CRASHES_TO_QUARANTINE:
        return Verdict(to="failed", counts_as_crash=True, quarantined=True)
    if failure_class not in retried or retry_count >= max_retries:
        return Verdict(to="failed", counts_as_crash=crashed)
    return Verdict(to="pending", counts_as_retry=True, counts_as_crash=crashed)
