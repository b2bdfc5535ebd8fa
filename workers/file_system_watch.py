"""The thread that looks at the file system: free space, and whether attempts write to their logs.

A mount that hangs holds up this thread alone; what the others know of the file system then grows old.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from workers import admission
from workers.disk import DiskFloor
from workers.execution import Execution
from workers.process import publication
from workers.shared_state import SharedState
from workers.timer import Timer
from workers.worker_thread import WorkerThread

LOOK_SEC = 1.0


class FileSystemWatch(WorkerThread):
    """Looks once a second at the disk below `root` and at the logs of the attempts that run."""

    def __init__(self, state: SharedState, root: Path, *, on_news: Callable[[], None]) -> None:
        super().__init__("file-system")
        self._state = state
        self._on_news = on_news
        self._root = root
        self._disk = DiskFloor(root, settings.ABSURD_DISK_FLOOR_GB)
        self._looks = Timer(LOOK_SEC)

    def wait_sec(self) -> float:
        return self._looks.wait_sec

    def turn(self) -> None:
        if not self._looks.due():
            return
        if self._state.roots.changed:
            self._look_at_root()  # before the news, from which on tasks may be claimed again
            self._state.roots.news()
            self._on_news()
        running = self._state.running
        self._state.presence.disk_gb = admission.free_gb(self._root)
        self._disk.check(running, grace_sec=settings.ABSURD_STOP_GRACE_SEC)
        self._state.disk_is_low = self._disk.low
        for execution in running:
            self._look_at_log(execution)

    def _look_at_root(self) -> None:
        """Start anew when another root is to take the products, because one that was missing at the start is back."""
        if self._state.roots.missing:
            return
        try:
            chosen = publication.choose_root(settings.ABSURD_DATA_ROOTS, settings.ABSURD_VAR)
        except publication.NoPublishRoot:
            return
        if chosen != self._root:
            self._state.recycling.order(f"products go to {chosen} from now on")

    def _look_at_log(self, execution: Execution) -> None:
        try:
            execution.look_at_log()
        except Exception as error:
            self.faults.note(f"looking at the log of {execution.named}", error)
