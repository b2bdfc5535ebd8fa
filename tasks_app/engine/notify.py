"""Small messages after a commit; the content stays in PostgreSQL.

To every web process when events were written, over the channel layer; to the workers when tasks became claimable, by
NOTIFY. Both only save waiting: readers and workers look by themselves as well.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
from collections.abc import Iterable

from django.conf import settings
from django.db import Error, transaction

from tasks_app.postgresql import statements

WORK_CHANNEL = "absurd_work"
"""The channel of NOTIFY; the payload is a queue's name."""
WORK_QUIET_SEC = 0.02
"""A process notifies of the same queue no sooner again. A worker that was woken looks again after longer than that."""
GROUP = "feed"
MESSAGE = {"type": "feed.wake"}
SEND_LIMIT_SEC = 1.0
"""Only the loop waits so long, and a process at its end."""
FINISH_MOST_SEC = 5.0
SEND_GAP_SEC = 0.01
"""A busy process sends no more often: the readers take in all that was committed in between at once."""

logger = logging.getLogger(__name__)


class Publisher:
    """A long-lived loop in a thread of its own, so that announcing never blocks a commit."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._ending = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failing = False
        self.failures = 0

    def announce(self) -> None:
        """Ask for a wake-up to be sent soon; several requests may share one message."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._ending = False
                self._thread = threading.Thread(target=self._run, name="feed-publisher", daemon=True)
                self._thread.start()
                atexit.unregister(self.finish)
                atexit.register(self.finish)
        self._wanted.set()

    def finish(self) -> None:
        """Send what is still to be sent and end the thread; a later announcement begins another.

        A process that ends soon after its commit would otherwise announce nothing, and abort when its interpreter ends
        while the thread is inside a library written in C++.
        """
        self._ending = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(FINISH_MOST_SEC)

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        while True:
            self._wanted.wait()
            self._wanted.clear()
            try:
                loop.run_until_complete(self._send())
            except Exception as error:  # a lost wake-up costs liveness only: readers poll as well
                self.failures += 1
                self._say(failing=True, text=f"not sent, readers poll instead: {error or type(error).__name__}")
            else:
                self._say(failing=False, text="sent again")
            if self._ending and not self._wanted.is_set():
                return
            time.sleep(SEND_GAP_SEC)

    def _say(self, *, failing: bool, text: str) -> None:
        """Log the beginning and the end of an outage, not every message of it."""
        if failing != self._failing and not self._ending:
            self._failing = failing
            logger.warning("feed wake-ups are %s", text)

    async def _send(self) -> None:
        if getattr(settings, "CHANNEL_LAYERS", None):
            from channels.layers import get_channel_layer  # not installed where no web process of ours runs

            layer = get_channel_layer()  # the first time it is imported, which is no part of the time to send
            async with asyncio.timeout(SEND_LIMIT_SEC):
                await layer.group_send(GROUP, MESSAGE)


publisher = Publisher()


_NOTIFY = "SELECT pg_notify(%(channel)s, name) FROM unnest(%(names)s::text[]) AS name"


class WorkNotifier:
    """Notifies listening workers of new work, after the commit and seldom: NOTIFY takes a lock of the whole cluster."""

    def __init__(self) -> None:
        self._notified_at: dict[str, float] = {}

    def notify(self, queue_names: Iterable[str]) -> None:
        """Notify of each queue that was not notified of a moment ago. Called outside any transaction."""
        moment = time.monotonic()
        due = [name for name in queue_names if moment - self._notified_at.get(name, 0.0) >= WORK_QUIET_SEC]
        if not due:
            return
        self._notified_at.update(dict.fromkeys(due, moment))
        try:
            statements.run(_NOTIFY, {"channel": WORK_CHANNEL, "names": due})
        except Error as error:
            logger.warning("workers were not notified, they poll instead: %s", error)


_notifier = WorkNotifier()


def wake_workers(queue_names: Iterable[str]) -> None:
    """Wake the workers of these queues once the current transaction has committed."""
    names = tuple(queue_names)
    if names and not settings.ABSURD_POLL_ONLY:
        transaction.on_commit(lambda: _notifier.notify(names))
