"""Work that may hang, asked for by those who will not wait for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from django.db import connections

T = TypeVar("T")


class Bounded:
    """Runs work in threads of its own. Those that hang are let be, but only so many of them."""

    def __init__(self, what: str, *, most: int = 4) -> None:
        self._what = what
        self._free = threading.BoundedSemaphore(most)

    def start(self, work: Callable[[], T], deadline: float) -> Future[T]:
        """Begin the work; the future raises TimeoutError when by the deadline too many earlier ones still hang."""
        future: Future[T] = Future()
        if not self._free.acquire(timeout=max(0.0, deadline - time.monotonic())):
            future.set_exception(TimeoutError(f"earlier looks at {self._what} have not come back"))
            return future
        threading.Thread(target=self._run, args=(work, future), name=f"health-{self._what}", daemon=True).start()
        return future

    def _run(self, work: Callable[[], T], future: Future[T]) -> None:
        try:
            found = work()
        except BaseException as error:
            self._end()
            future.set_exception(error)
        else:
            self._end()
            future.set_result(found)

    def _end(self) -> None:
        connections.close_all()
        self._free.release()


def wait(future: Future[T], deadline: float) -> T:
    """Return what the work returned. Raises what it raised, or TimeoutError when it hangs."""
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError as error:
        raise TimeoutError(str(error) or "no answer in time") from None
