"""A descriptor by which one thread wakes the select of another."""

from __future__ import annotations

import contextlib
import os


class Wakeup:
    """Readable from `set` until `clear`; neither waits."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def set(self) -> None:
        """Wake whoever selects on it."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        """Take note that it was set."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)
