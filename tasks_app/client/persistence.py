"""Asking again when nobody answers, and never twice for what must not happen twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tasks_app.client.faults import Unavailable

T = TypeVar("T")
PAUSE_FIRST_SEC, PAUSE_MOST_SEC = 0.2, 5.0


def pause_sec(number: int) -> float:
    """Return how long to wait before the repetition of that number, from 0: longer each time, and never in step."""
    longest: float = min(PAUSE_MOST_SEC, PAUSE_FIRST_SEC * 2.0**number)
    return random.uniform(0.5, 1.0) * longest  # noqa: S311 - no secret


async def persist(call: Callable[[], Awaitable[T]], *, retries: int, harmless: bool) -> T:
    """Return what the call returns, repeating it while it raises Unavailable.

    One that is not harmless is repeated only when it certainly had no effect.
    """
    for number in range(retries):
        try:
            return await call()
        except Unavailable as fault:
            if not (harmless or fault.never_sent):
                raise
            await asyncio.sleep(pause_sec(number) if fault.retry_after_sec is None else fault.retry_after_sec)
    return await call()
