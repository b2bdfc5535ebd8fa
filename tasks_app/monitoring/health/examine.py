"""Every check in order, each by itself, and an answer in bounded time whatever hangs."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar

import psycopg
from django.conf import settings
from django.db import DatabaseError, connection, transaction

from tasks_app.engine import system_state
from tasks_app.monitoring.health import database, faults, host, workers
from tasks_app.monitoring.health import queue as of_queue
from tasks_app.monitoring.health.bounded import Bounded, wait
from tasks_app.monitoring.health.checks import Check, Health, limit, verdict
from tasks_app.monitoring.health.latest import Latest

T = TypeVar("T")

OF_QUEUE: dict[str, Callable[[str], Check]] = {
    "workers": of_queue.workers,
    "unserved queues": of_queue.unserved,
    "task names": workers.task_names,
    "data roots of workers": workers.data_roots,
    "hosts": workers.unavailable,
    "depth": of_queue.depth,
    "oldest pending": of_queue.oldest_pending,
    "progress": of_queue.progress,
    "stalled claims": of_queue.stalled,
    "stops": of_queue.stops,
    **faults.CHECKS,
}
OF_DATABASE: dict[str, Callable[[], Check]] = {
    "writes": database.writes,
    "migrations": database.migrations,
    "indexes": database.indexes,
    "counting": database.triggers,
    "folding": database.folding,
    "feed": database.events,
    "vacuum": database.vacuum,
    "old transactions": database.old_transactions,
    "clock": database.clock_skew,
}

LATEST_MARGIN_SEC = 2.0

_database, _redis = Bounded("the database"), Bounded("Redis")
_roots = Bounded("the data roots")
_disks: dict[Path, Bounded] = {}


def check(queue: str | None = None) -> Health:
    """Return the last look at the default queue, about a second old and shared by all who ask.

    Another queue is looked at now; so is the default one within a transaction, where what the caller wrote counts.
    """
    name = queue or settings.ABSURD_QUEUE_NAME
    if connection.in_atomic_block or name != settings.ABSURD_QUEUE_NAME:
        return examine(name)
    return _latest.get(wait_sec=limit("limit_sec") + LATEST_MARGIN_SEC)


def forget() -> None:
    """Have the next asker wait for a new look."""
    _latest.forget()


def _overdue(waited_sec: float) -> Health:
    """Return the answer for when a look has not ended in time: nothing is known of the database or the disks."""
    fault = Check(
        name="health",
        state="bad",
        message=f"No look at health has ended within {waited_sec:.0f} s",
        remedy="this web process gets no processor time: see what else its host is doing",
    )
    return verdict(settings.ABSURD_QUEUE_NAME, [fault], disabled="")


def examine(queue: str | None = None) -> Health:
    """Look at everything now."""
    name = queue or settings.ABSURD_QUEUE_NAME
    deadline = time.monotonic() + limit("limit_sec")
    redis = _redis.start(host.messages, deadline)
    own = None if connection.in_atomic_block else _database.start(partial(_through_an_own_connection, name), deadline)
    disks = _start_disks(deadline)
    roots = _roots.start(host.roots, deadline)
    if own is None:
        found = _through_the_callers_connection(name)
    else:
        found = _settle(own, deadline, lambda error: ([database.unreachable(error)], ""))
    checks, disabled = found
    checks += _settle_disks(disks, deadline)
    checks.append(_settle(roots, deadline, host.silent_roots))
    checks.append(_settle(redis, deadline, host.silent_messages))
    return verdict(name, checks, disabled=disabled)


_latest = Latest(examine, _overdue)


def _settle(future: Future[T], deadline: float, otherwise: Callable[[Exception], T]) -> T:
    try:
        return wait(future, deadline)
    except (DatabaseError, psycopg.Error, TimeoutError) as error:
        return otherwise(error)


def _through_an_own_connection(name: str) -> tuple[list[Check], str]:
    database.connect_outside_the_pool()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{limit('limit_sec'):.3f}s"])
        return _look(name)


def _through_the_callers_connection(name: str) -> tuple[list[Check], str]:
    try:
        return _look(name)
    except DatabaseError as error:
        return [database.unreachable(error)], ""


def _look(name: str) -> tuple[list[Check], str]:
    checks = [database.latency(database.round_trip_ms())]
    works = [(title, partial(work, name)) for title, work in OF_QUEUE.items()] + list(OF_DATABASE.items())
    checks += [_alone(title, work) for title, work in works]
    try:
        with transaction.atomic():
            state = system_state.current()
            disabled = "" if system_state.is_enabled() else system_state.disabled_message(state)
    except DatabaseError:
        disabled = ""
    return checks, disabled


def _alone(title: str, work: Callable[[], Check]) -> Check:
    """Do one check so that its failure spoils no other."""
    try:
        with transaction.atomic():
            return work()
    except DatabaseError as error:
        told = str(error).strip().split("\n", 1)[0]
        remedy = "if migrations are missing, apply them; else see the database's log"
        return Check(name=title, state="bad", message=f"{title.capitalize()} cannot be told ({told})", remedy=remedy)


def _start_disks(deadline: float) -> dict[Path, Future[tuple[int, Check] | None]]:
    bounded = {path: _disks.setdefault(path, Bounded(str(path))) for path in host.watched_roots()}
    return {path: each.start(partial(_look_at_disk, path), deadline) for path, each in bounded.items()}


def _look_at_disk(path: Path) -> tuple[int, Check] | None:
    device = host.device(path)
    return None if device is None else (device, host.disk(path))


def _settle_disks(futures: dict[Path, Future[tuple[int, Check] | None]], deadline: float) -> list[Check]:
    """Return one check a file system that there is, and one for each path that does not answer."""
    by_device: dict[int, Check] = {}
    silent: list[Check] = []
    for path, future in futures.items():
        try:
            found = wait(future, deadline)
        except (OSError, TimeoutError) as error:
            silent.append(host.silent_disk(path, error))
        else:
            if found is not None:
                by_device.setdefault(*found)
    return [*by_device.values(), *silent]
