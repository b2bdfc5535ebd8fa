"""Stop signals: the first SIGTERM, SIGINT or SIGHUP orders a drain, a later SIGTERM or SIGINT a stop at once."""

from __future__ import annotations

import signal
import socket
import time
from types import FrameType

from workers.process.guardian import STOP_SIGNALS

SAME_ORDER_SEC = 1.0
"""Signals that arrive so soon after the first belong to it: a service manager and a supervisor may both send one."""


class StopOrders:
    """Catches the signals; its `reader` becomes readable with each, so that a select wakes up."""

    def __init__(self) -> None:
        self.count = 0
        self._last_at = 0.0
        self._announced = 0
        self.reader, self._writer = socket.socketpair()

    def catch(self) -> None:
        """Start to catch the signals of this process."""
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            # nohup starts a process with SIGHUP ignored, because it is to outlive its terminal.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.count and (number == signal.SIGHUP or self.since_sec < SAME_ORDER_SEC):
            return
        self.count += 1
        self._last_at = time.monotonic()

    def drain_reader(self) -> None:
        """Take what woke the select off the socket."""
        self.reader.recv(64)

    def release(self) -> None:
        """Let go of the wake-up descriptor."""
        signal.set_wakeup_fd(-1)

    @property
    def drain(self) -> bool:
        """Whether nothing more may be claimed."""
        return self.count > 0

    @property
    def at_once(self) -> bool:
        """Whether running attempts are to be killed."""
        return self.count > 1

    @property
    def since_sec(self) -> float:
        """Seconds since the last order."""
        return time.monotonic() - self._last_at

    def news(self) -> str:
        """Return, once for each, what has been ordered."""
        level = min(self.count, 2)
        if level == self._announced:
            return ""
        self._announced = level
        return "draining; tell it again to stop at once" if level == 1 else "stopping at once"
