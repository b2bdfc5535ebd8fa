"""Unexpected exceptions of the worker's own steps: logged, counted, and never the end of the worker."""

from __future__ import annotations

import logging
import time

AGAIN_SEC = 60.0
"""The same fault is logged again no sooner."""

logger = logging.getLogger(__name__)


class Faults:
    """Logs each fault with its traceback once, and then once a minute with how often it came."""

    def __init__(self) -> None:
        self._logged_at: dict[tuple[str, type[BaseException]], float] = {}
        self._unlogged: dict[tuple[str, type[BaseException]], int] = {}

    def note(self, step: str, error: BaseException) -> None:
        """Take note that a step failed."""
        key, now = (step, type(error)), time.monotonic()
        if now - self._logged_at.get(key, float("-inf")) < AGAIN_SEC:
            self._unlogged[key] = self._unlogged.get(key, 0) + 1
            return
        if len(self._logged_at) > 1000:
            self._logged_at.clear()
        self._logged_at[key] = now
        more = self._unlogged.pop(key, 0)
        logger.error(
            "%s failed%s; the worker goes on", step, f" (and {more} times more)" if more else "", exc_info=error
        )
