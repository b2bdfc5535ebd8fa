"""Looking again and again, until somebody has seen enough."""

from __future__ import annotations

import time
from collections.abc import Iterator


def rounds(interval_sec: float | None) -> Iterator[int]:
    """Yield 0, 1, 2, … every so many seconds, counted from the beginning so that no round drifts; None: once."""
    began = time.monotonic()
    number = 0
    while True:
        yield number
        if interval_sec is None:
            return
        number = max(number + 1, int((time.monotonic() - began) / interval_sec))
        time.sleep(max(0.0, began + number * interval_sec - time.monotonic()))
