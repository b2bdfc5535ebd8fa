"""Free space where attempts write: below a floor nothing more is claimed, and one attempt after another is stopped.

One at a time, the one whose directory holds most first, and the next only when what the last one left has been
removed: to stop all of them would cost every task a retry because of one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from workers.execution import Execution
from workers.outcome import Stop

SETTLE_SEC = 5.0
"""After a stopped attempt has gone, its scratch directory takes a while to remove."""

logger = logging.getLogger(__name__)


class DiskFloor:
    """Watches the file system of the data root that this worker publishes to."""

    def __init__(self, root: Path, floor_gb: float) -> None:
        self._root = root
        self._floor_gb = floor_gb
        self._settled_at = 0.0
        self.low = False
        """Whether there is too little space to claim more."""

    def check(self, running: Sequence[Execution], *, grace_sec: float) -> None:
        """Look at the free space and stop an attempt when there is too little."""
        if not self._floor_gb:
            return
        try:
            free_gb = shutil.disk_usage(self._root).free / 1e9
        except OSError:
            return
        if (free_gb < self._floor_gb) != self.low:
            self.low = not self.low
            told = "nothing is claimed until there is more" if self.low else "tasks are claimed again"
            logger.warning("%.2f GB free on the disk of %s: %s", free_gb, self._root, told)
        if not self.low:
            return
        if any(execution.stop_asked is not None for execution in running):
            self._settled_at = time.monotonic() + SETTLE_SEC
        if time.monotonic() >= self._settled_at and (chosen := _heaviest(running)):
            message = (
                f"disk full: {free_gb:.2f} GB free on the disk of {self._root}, less than the "
                f"{self._floor_gb:g} GB of ABSURD_DISK_FLOOR_GB; this attempt held most"
            )
            chosen.stop(Stop(failure_class="unavailable", message=message, keep_products=False), grace_sec=grace_sec)
            self._settled_at = time.monotonic() + SETTLE_SEC


def _heaviest(running: Sequence[Execution]) -> Execution | None:
    """Return the attempt whose directory holds most; one in a thread cannot be stopped."""
    stoppable = [execution for execution in running if execution.used() is not None]
    return max(stoppable, key=lambda execution: _held_bytes(execution.places.attempt_dir), default=None)


def _held_bytes(directory: Path) -> int:
    held = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                held += (Path(folder) / name).lstat().st_blocks * 512
    return held
