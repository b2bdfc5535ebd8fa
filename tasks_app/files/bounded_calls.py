"""Calls into file systems that may hang, such as a mount whose server is gone: few at a time, each in its own thread.

A call that does not come back in time leaves its thread behind until the file system answers, and nothing else: not a
request's thread, no database connection. Until then calls into the same root are refused at once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from pathlib import Path
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.db import connection

from tasks_app.errors import FilesBusy

P = ParamSpec("P")
T = TypeVar("T")
CALLS_MOST = 16
"""How many calls are under way at once in a process."""
LIMIT_SEC = 5.0
"""How long a call may take, and how long it may wait for one of the places."""
REMOTE_LIMIT_SEC = 15.0
"""The same for a file of another host, whose connection has limits of its own."""
PAUSE_SEC = 0.01

_places = threading.BoundedSemaphore(CALLS_MOST)
_lock = threading.Lock()
_hanging: Counter[str] = Counter()


def in_time(place: Path, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Return what the call returns; the caller's database connection goes back to the pool first.

    `place` is a path that it works on. Raises FilesBusy, and what the call raises.
    """
    if not connection.in_atomic_block:
        connection.close()
    root = root_of(place)
    if _hanging[root] or not _places.acquire(timeout=LIMIT_SEC):
        raise FilesBusy(root)
    future = in_daemon_thread(lambda: work(*arguments, **named), _places.release, "file call")
    try:
        return future.result(_limit_sec(root))
    except NoAnswer:
        if future.done():  # the call's own error
            raise
        _hangs(root, future)
        raise FilesBusy(root) from None


async def in_time_async(place: Path, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Return the same for a coroutine, whose event loop is not kept waiting."""
    root, until = root_of(place), time.monotonic() + LIMIT_SEC
    while _hanging[root] or not _places.acquire(blocking=False):
        if time.monotonic() > until:
            raise FilesBusy(root)
        await asyncio.sleep(PAUSE_SEC)
    future = in_daemon_thread(lambda: work(*arguments, **named), _places.release, "file call")
    done, _ = await asyncio.wait([asyncio.wrap_future(future)], timeout=_limit_sec(root))
    if not done:
        _hangs(root, future)
        raise FilesBusy(root)
    return done.pop().result()


def in_daemon_thread(work: Callable[[], T], at_end: Callable[[], None], name: str) -> Future[T]:
    """Run the work in a daemon thread, so that the process can end while it hangs; then `at_end`, then the result."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            found = work()
        except BaseException as error:  # the caller of the future gets it
            at_end()
            future.set_exception(error)
        else:
            at_end()
            future.set_result(found)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _hangs(root: str, future: Future[T]) -> None:
    with _lock:
        _hanging[root] += 1

    def back(_: Future[T]) -> None:
        with _lock:
            _hanging[root] -= 1

    future.add_done_callback(back)


def _limit_sec(root: str) -> float:
    return REMOTE_LIMIT_SEC if root.startswith("//") else LIMIT_SEC


def root_of(place: Path) -> str:
    """Return the configured root that a path lies in, by its name alone: looking might hang.

    Of a file of another host, which is named //HOST/PATH, that is the host.
    """
    if place.root == "//":
        return f"//{place.parts[1]}"
    roots = [root for root in (*settings.ABSURD_DATA_ROOTS, settings.ABSURD_VAR) if place.is_relative_to(root)]
    return str(max(roots, key=lambda root: len(root.parts), default=Path(place.anchor)))
