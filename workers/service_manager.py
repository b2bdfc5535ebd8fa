"""The two ways in which a service manager and a worker talk: stop signals in, sd_notify(3) out."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from types import FrameType

from workers.process.guardian import STOP_SIGNALS

SAME_SIGNAL_SEC = 1.0
"""Signals that arrive so soon after the first belong to it: a service manager and a supervisor may both send one."""


class StopSignals:
    """The first SIGTERM, SIGINT or SIGHUP asks for a drain, a later SIGTERM or SIGINT for a stop at once.

    `reader` becomes readable with each signal, so that a select wakes up.
    """

    def __init__(self) -> None:
        self._count = 0
        self._last_at = 0.0
        self._logged = 0
        self.reader, self._writer = socket.socketpair()

    def catch(self) -> None:
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            # nohup starts a process with SIGHUP ignored, because it is to outlive its terminal.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._count and (number == signal.SIGHUP or self.since_sec < SAME_SIGNAL_SEC):
            return
        self._count += 1
        self._last_at = time.monotonic()

    def request(self) -> None:
        """Drain as if a first signal had arrived."""
        if not self._count:
            self._count, self._last_at = 1, time.monotonic()

    def drain_reader(self) -> None:
        self.reader.recv(64)

    def release(self) -> None:
        signal.set_wakeup_fd(-1)

    @property
    def drain(self) -> bool:
        """Whether nothing more may be claimed."""
        return self._count > 0

    @property
    def at_once(self) -> bool:
        """Whether running attempts are to be killed."""
        return self._count > 1

    @property
    def since_sec(self) -> float:
        """Seconds since the last signal that counted."""
        return time.monotonic() - self._last_at

    def unlogged(self) -> str:
        """Return what was requested, once for each request."""
        level = min(self._count, 2)
        if level == self._logged:
            return ""
        self._logged = level
        return "draining; a second signal stops it at once" if level == 1 else "stopping at once"


class Notifier:
    """Sends to the socket that systemd named in the environment; without one, nothing."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        watched = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_sec = int(os.environ.get("WATCHDOG_USEC", "0")) / 3e6 if watched else 0.0
        self._alive_at = 0.0
        self._status = ""
        self._ready = False

    @property
    def wait_sec(self) -> float | None:
        if not self._address or not self._every_sec:
            return None
        return max(0.0, self._alive_at + self._every_sec - time.monotonic())

    def ready(self) -> None:
        """The worker is registered and claims."""
        if not self._ready:
            self._ready = True
            self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        if self.wait_sec == 0.0:
            self._alive_at = time.monotonic()
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(message.encode(), address)
