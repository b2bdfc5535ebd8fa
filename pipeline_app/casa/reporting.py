"""Progress of a stage while one of its steps reports nothing by itself, such as one long call of CASA."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import psutil

from tasks_app.engine.handler import Context

PERIOD_SEC = 5.0
"""A report is repeated after this time without another."""
CHECK_SEC = 1.0
CPU_STEP_SEC = 0.05
"""Less processor time than this since the last report is spent on waiting: a step that hangs is not reported again."""

Params = TypeVar("Params")
Outcome = TypeVar("Outcome")

_is_repeated: ContextVar[bool] = ContextVar("_is_repeated", default=False)


def steadily(run: Callable[[Params, Context], Outcome]) -> Callable[[Params, Context], Outcome]:
    """Make a stage repeat its last report, with the time since then, while it works and reports nothing new."""

    @functools.wraps(run)
    def repeated(params: Params, context: Context) -> Outcome:
        if _is_repeated.get():  # a stage within a stage, whose reports go through that one's
            return run(params, context)
        steady, done = SteadyContext(context), threading.Event()
        thread = threading.Thread(target=steady.watch, args=(done,), name="progress", daemon=True)
        token = _is_repeated.set(True)
        thread.start()
        try:
            return run(params, steady)  # type: ignore[arg-type]
        finally:
            done.set()
            thread.join()
            _is_repeated.reset(token)

    return repeated


class SteadyContext:
    """The context of a stage, which repeats the last report when there is no other."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._last: tuple[float | None, str, Mapping[str, float]] | None = None
        self._began_at = self._reported_at = time.monotonic()
        self._cpu_sec: float | None = None
        """Processor time at the first check after the last report."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def progress(self, fraction: float | None, message: str, **metrics: float) -> None:
        with self._lock:
            self._last = (fraction, message, metrics)
            self._began_at = self._reported_at = time.monotonic()
            self._cpu_sec = None
            self._context.progress(fraction, message, **metrics)

    def watch(self, done: threading.Event) -> None:
        """Repeat the last report whenever it is due, until `done` is set."""
        while not done.wait(CHECK_SEC):
            self.repeat_if_due(time.monotonic(), _cpu_sec())

    def repeat_if_due(self, now: float, cpu_sec: float) -> None:
        """Repeat the last report if it is due at the time `now` and the processor was used since it was made."""
        with self._lock:
            if self._cpu_sec is None:
                self._cpu_sec = cpu_sec
            works = cpu_sec - self._cpu_sec > CPU_STEP_SEC
            if works and self._last is not None and now - self._reported_at >= PERIOD_SEC:
                fraction, message, metrics = self._last
                self._reported_at, self._cpu_sec = now, cpu_sec
                self._context.progress(fraction, f"{message}, {now - self._began_at:.0f} s", **metrics)


def _cpu_sec() -> float:
    """Return the processor time of this process and of the programs that it runs."""
    total, own = time.process_time(), psutil.Process()
    for child in own.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = child.cpu_times()
            total += times.user + times.system
    return total
