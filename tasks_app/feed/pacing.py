"""At most so many messages a second about one task."""

from __future__ import annotations

import time
from collections import deque
from uuid import UUID

PER_SEC = 10
WINDOW_SEC = 1.0
REMEMBERED_MOST = 2_000


class Pace:
    """When the last messages about each task were sent."""

    def __init__(self) -> None:
        self._sent: dict[UUID, deque[float]] = {}

    def pause_sec(self, task_id: UUID | None) -> float:
        """Return how long the next message about the task has to wait; 0 when it need not."""
        sent = self._sent.get(task_id) if task_id is not None else None
        if sent is None or len(sent) < PER_SEC:
            return 0.0
        return max(0.0, sent[0] + WINDOW_SEC - time.monotonic())

    def note(self, task_id: UUID | None) -> None:
        """Remember that a message about the task is being sent."""
        if task_id is None:
            return
        if len(self._sent) > REMEMBERED_MOST:
            self._forget_old()
        self._sent.setdefault(task_id, deque(maxlen=PER_SEC)).append(time.monotonic())

    def _forget_old(self) -> None:
        since = time.monotonic() - WINDOW_SEC
        self._sent = {task_id: sent for task_id, sent in self._sent.items() if sent[-1] > since}
