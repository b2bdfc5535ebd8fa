"""A value that many ask for and that may be a moment old."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """Keeps what `make` returned for so many seconds, counted from when it was asked; safe to share between threads."""

    def __init__(self, make: Callable[[], T], *, keep_sec: float) -> None:
        self._make = make
        self._keep_sec = keep_sec
        self._lock = threading.Lock()
        self._kept: tuple[float, T] | None = None

    def get(self, *, fresh: bool = False) -> T:
        """Return the value, made anew when it is too old or `fresh` is asked for; others wait meanwhile."""
        with self._lock:
            began = time.monotonic()
            if not fresh and self._kept is not None and began - self._kept[0] < self._keep_sec:
                return self._kept[1]
            value = self._make()
            self._kept = (began, value)
            return value

    def forget(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._kept = None
