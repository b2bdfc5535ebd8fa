"""Progress of a call that says nothing until it returns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

PERIOD_SEC = 5.0


@contextmanager
def ticking(progress: Callable[[float, str], None], what: str, *, expected_sec: float = 120.0) -> Iterator[None]:
    """Report every few seconds that `what` is running and for how long; the fraction approaches 1 and never gets there.

    The caller must not report by itself meanwhile.
    """
    done = Event()
    started = time.monotonic()

    def report() -> None:
        while True:
            elapsed_sec = time.monotonic() - started
            progress(elapsed_sec / (elapsed_sec + expected_sec), f"{what} is running, {elapsed_sec:.0f} s")
            if done.wait(PERIOD_SEC):
                return

    thread = Thread(target=report, name=f"progress of {what}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
