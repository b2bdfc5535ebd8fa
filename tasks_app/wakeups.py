"""One small message to every web process after a commit that wrote events; the content stays in PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
import threading

from channels.layers import get_channel_layer

GROUP = "feed"
MESSAGE = {"type": "feed.wake"}
SEND_LIMIT_SEC = 0.1

logger = logging.getLogger(__name__)


class Publisher:
    """A long-lived loop in a thread of its own, so that announcing never blocks a commit."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failing = False
        self.failures = 0

    def announce(self) -> None:
        """Ask for a wake-up to be sent soon; several requests may share one message."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="feed-publisher", daemon=True)
                self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        while True:
            self._wanted.wait()
            self._wanted.clear()
            try:
                loop.run_until_complete(asyncio.wait_for(self._send(), SEND_LIMIT_SEC))
            except Exception as error:  # a lost wake-up costs liveness only: readers poll as well
                self.failures += 1
                self._say(failing=True, text=f"not sent, readers fall back to polling: {error or type(error).__name__}")
            else:
                self._say(failing=False, text="sent again")

    def _say(self, *, failing: bool, text: str) -> None:
        """Log the beginning and the end of an outage, not every message of it."""
        if failing != self._failing:
            self._failing = failing
            logger.warning("feed wake-ups are %s", text)

    async def _send(self) -> None:
        layer = get_channel_layer()
        if layer is not None:
            await layer.group_send(GROUP, MESSAGE)


publisher = Publisher()
