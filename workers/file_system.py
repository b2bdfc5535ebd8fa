"""What the worker knows of the file system, from two threads that may hang on a dead mount without holding up others.

One checks free space and the logs of attempts once a second, the other the data roots.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from tasks_app.monitoring import data_roots
from workers.execution import Execution
from workers.process import publication
from workers.process.outcome import Stop
from workers.worker_thread import Timer, Wakeup, WorkerThread

if TYPE_CHECKING:
    from workers.shared_state import SharedState

CHECK_SEC = 1.0
SETTLE_SEC = 5.0
"""After a stopped attempt has gone, its scratch directory takes a while to remove."""
ROOTS_CHECK_SEC = 5.0
ROOTS_HANG_SEC = 30.0
"""A check of the data roots that takes longer hangs on a dead mount."""
ROOTS_FIRST_CHECK_SEC = 10.0

logger = logging.getLogger(__name__)


def free_gb(root: Path) -> float:
    """Return the free space on the file system of a directory; 0 when it is not there or does not answer."""
    try:
        return shutil.disk_usage(root).free / 1e9
    except OSError:
        return 0.0


class FileSystemThread(WorkerThread):
    """Checks free space, the logs of running attempts and the data roots."""

    def __init__(self, state: SharedState) -> None:
        super().__init__("file-system", Wakeup())
        self._state = state
        self._disk = DiskFloor(state.root, settings.ABSURD_DISK_FLOOR_GB)
        self._checks = Timer(CHECK_SEC)

    def wait_sec(self) -> float:
        return self._checks.wait_sec

    def turn(self) -> None:
        if not self._checks.due():
            return
        if self._state.roots.changed:
            self._check_publish_root()  # before the change is acknowledged, from which on tasks may be claimed again
            self._state.roots.acknowledge()
            self._state.report_soon()
        running = self._state.running
        self._state.registration.disk_gb = free_gb(self._state.root)
        self._disk.check(running)
        self._state.disk_is_low = self._disk.low
        for execution in running:
            try:
                execution.check_log()
            except Exception as error:
                self.faults.record(f"checking the log of {execution.named}", error)

    def _check_publish_root(self) -> None:
        """Recycle when products go to another root, because one that was missing at the start is back."""
        if self._state.roots.missing:
            return
        with contextlib.suppress(publication.NoPublishRoot):
            chosen = publication.choose_root()
            if chosen != self._state.root:
                self._state.recycle(f"products go to {chosen} from now on")


class DiskFloor:
    """Free space where attempts write: below a floor nothing more is claimed, and one attempt after another is stopped.

    The one whose directory holds most goes first, and the next only when what the last one left has been removed: to
    stop all of them would cost every task a retry because of one.
    """

    def __init__(self, root: Path, floor_gb: float) -> None:
        self._root = root
        self._floor_gb = floor_gb
        self._settled_at = 0.0
        self.low = False
        """Whether there is too little space to claim more."""

    def check(self, running: Sequence[Execution]) -> None:
        """Stop an attempt when there is too little free space."""
        if not self._floor_gb:
            return
        try:
            free = shutil.disk_usage(self._root).free / 1e9
        except OSError:
            return
        if (free < self._floor_gb) != self.low:
            self.low = not self.low
            effect = "nothing is claimed until more is free" if self.low else "tasks are claimed again"
            logger.warning("%.2f GB free on the disk of %s: %s", free, self._root, effect)
        if not self.low:
            return
        if any(execution.stop_requested is not None for execution in running):
            self._settled_at = time.monotonic() + SETTLE_SEC
        if time.monotonic() >= self._settled_at and (chosen := _largest(running)):
            message = (
                f"disk full: {free:.2f} GB free on the disk of {self._root}, less than the "
                f"{self._floor_gb:g} GB of ABSURD_DISK_FLOOR_GB; this attempt held most"
            )
            chosen.stop(Stop(failure_class="unavailable", message=message, keep_products=False))
            self._settled_at = time.monotonic() + SETTLE_SEC


def _largest(running: Sequence[Execution]) -> Execution | None:
    stoppable = [execution for execution in running if execution.used() is not None]
    return max(stoppable, key=lambda execution: _size_bytes(execution.places.attempt_dir), default=None)


def _size_bytes(directory: Path) -> int:
    size = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                size += (Path(folder) / name).lstat().st_blocks * 512
    return size


class DataRootWatch:
    """Knows which data roots this host does not see; while any is missing, nothing may be claimed."""

    def __init__(self) -> None:
        self._found: tuple[str, ...] = ()
        self._checked_at = time.monotonic()
        self._checked = threading.Event()
        self._acknowledged: tuple[str, ...] = ()

    def start(self) -> None:
        """Check for the first time, and keep checking."""
        threading.Thread(target=self._watch, name="data-roots", daemon=True).start()
        self._checked.wait(ROOTS_FIRST_CHECK_SEC)

    @property
    def missing(self) -> tuple[str, ...]:
        """The data roots that this host does not see; all of them while the file system does not answer."""
        if not self._checked.is_set() or time.monotonic() - self._checked_at > ROOTS_HANG_SEC:
            return tuple(map(str, settings.ABSURD_DATA_ROOTS))
        return self._found

    @property
    def forbid_claims(self) -> bool:
        """Whether roots are missing, or their return has not been acknowledged yet."""
        return bool(self.missing or self._acknowledged)

    @property
    def changed(self) -> bool:
        """Whether other roots are missing than was acknowledged last."""
        return self.missing != self._acknowledged

    def acknowledge(self) -> None:
        """Log the change, and let tasks be claimed again when nothing is missing any more."""
        self._acknowledged = missing = self.missing
        if missing:
            logger.warning("data roots are missing on this host, nothing is claimed: %s", ", ".join(missing))
        else:
            logger.info("all data roots are mounted, tasks are claimed again")

    def _watch(self) -> None:
        while True:
            try:
                data_roots.mark_own()
                self._found = tuple(data_roots.missing())
            except OSError as error:
                logger.warning("the data roots cannot be checked: %s", error)
                self._found = tuple(map(str, settings.ABSURD_DATA_ROOTS))
            self._checked_at = time.monotonic()
            self._checked.set()
            time.sleep(ROOTS_CHECK_SEC)
