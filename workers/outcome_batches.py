"""Outcomes that come within a few milliseconds of each other are stored in one transaction."""

from __future__ import annotations

import time
from collections.abc import Collection

from workers.execution import Execution
from workers.threads import ThreadExecution

GATHER_SEC = 0.01


class Gathering:
    """Says how long the outcomes at hand may still wait for others. Only those of threads come in crowds."""

    def __init__(self) -> None:
        self._since: float | None = None

    def wait_sec(self, executions: Collection[Execution]) -> float | None:
        """Return the seconds to wait, 0 when it is time to store what has ended, None when nothing has."""
        ended = [execution for execution in executions if execution.outcome is not None]
        if not ended:
            self._since = None
            return None
        more_to_come = any(isinstance(execution, ThreadExecution) and execution.running for execution in executions)
        if not more_to_come or not all(isinstance(execution, ThreadExecution) for execution in ended):
            return 0.0
        if self._since is None:
            self._since = time.monotonic()
        return max(0.0, self._since + GATHER_SEC - time.monotonic())
