"""What systemd is told: that the worker is ready, that it still turns, that it is ending. Elsewhere, nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import time


class Notifier:
    """Speaks the protocol of sd_notify(3) to the socket that systemd named in the environment."""

    def __init__(self, environment: os._Environ[str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period_sec = int(environment.get("WATCHDOG_USEC", "0")) / 1e6 if watched else 0.0
        self._every_sec = period_sec / 3
        self._alive_at = 0.0
        self._status = ""
        self._ready = False

    @property
    def wait_sec(self) -> float | None:
        """Seconds until a sign of life is due; None where nobody watches."""
        if not self._address or not self._every_sec:
            return None
        return max(0.0, self._alive_at + self._every_sec - time.monotonic())

    def ready(self) -> None:
        """The worker is registered and claims."""
        if not self._ready:
            self._ready = True
            self._send("READY=1")

    def stopping(self) -> None:
        """The worker claims nothing more and ends."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line that systemctl status shows."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Give a sign of life, if one is due."""
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
