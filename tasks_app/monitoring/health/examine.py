"""All checks in order, each isolated from the others, with an answer in bounded time whatever hangs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg
from django.conf import settings
from django.db import DatabaseError, connection, transaction

from tasks_app.engine import system_state
from tasks_app.monitoring.health import backups as backups  # adds its check to those of faults
from tasks_app.monitoring.health import database, faults, host
from tasks_app.monitoring.health import queue as of_queue
from tasks_app.monitoring.health.background import Bounded, Latest, wait
from tasks_app.monitoring.health.checks import Check, Health, State, bad, health_of, threshold

OF_QUEUE: dict[str, Callable[[str], Check]] = {
    "workers": of_queue.workers,
    "unserved queues": of_queue.unserved,
    "task names": of_queue.task_names,
    "data roots of workers": of_queue.data_roots,
    "hosts": of_queue.unavailable,
    "depth": of_queue.depth,
    "oldest pending": of_queue.oldest_pending,
    "progress": of_queue.progress,
    "stalled claims": of_queue.stalled,
    "stops": of_queue.stops,
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

_database, _redis, _roots = Bounded("the database"), Bounded("Redis"), Bounded("the data roots")
_disks: dict[Path, Bounded] = {}
_seen: dict[tuple[str, str, int], tuple[State, datetime]] = {}
"""The last state of each check by queue, name and place, and since when."""


def check(queue: str | None = None) -> Health:
    """Return the latest health of the default queue, about a second old and shared by all callers.

    Another queue is checked now; so is the default one within a transaction, which sees its own writes.
    """
    name = queue or settings.ABSURD_QUEUE_NAME
    if connection.in_atomic_block or name != settings.ABSURD_QUEUE_NAME:
        return examine(name)
    return _latest.get(wait_sec=threshold("limit_sec") + LATEST_MARGIN_SEC)


def forget() -> None:
    """Make the next caller of `check` wait for new checks."""
    _latest.forget()


def stop() -> None:
    """End the background checks; the next caller of `check` starts them again."""
    _latest.stop()


def _overdue(waited_sec: float) -> Health:
    """Return the answer for when the checks have not ended in time: the state of database and disks is unknown."""
    fault = bad(
        f"The health checks have not ended within {waited_sec:.0f} s",
        "this web process gets no processor time: find out what else its host is running",
    )
    return health_of(settings.ABSURD_QUEUE_NAME, [replace(fault, name="health")], disabled="")


def examine(queue: str | None = None) -> Health:
    """Run all checks now."""
    name = queue or settings.ABSURD_QUEUE_NAME
    deadline = time.monotonic() + threshold("limit_sec")
    redis = _redis.start(host.redis_server, deadline)
    own = None if connection.in_atomic_block else _database.start(partial(_through_an_own_connection, name), deadline)
    disks = {path: _disk(path).start(partial(_check_disk, path), deadline) for path in host.watched_roots()}
    roots = _roots.start(host.roots, deadline)
    try:
        checks, disabled = _run_all(name) if own is None else wait(own, deadline)
    except (DatabaseError, psycopg.Error, TimeoutError) as error:
        checks, disabled = [replace(database.unreachable(error), name="database")], ""
    checks += _settle_disks(disks, deadline)
    for title, future, otherwise in (
        ("data roots", roots, host.roots_without_answer),
        ("redis", redis, host.redis_without_answer),
    ):
        try:
            found = wait(future, deadline)
        except TimeoutError as error:
            found = otherwise(error)
        checks.append(replace(found, name=title))
    return health_of(name, _dated(name, checks), disabled=disabled)


def _dated(queue: str, checks: Sequence[Check]) -> list[Check]:
    """Return the checks, each with when this process first saw the state that it has seen ever since."""
    moment, count, dated = datetime.now(UTC), Counter[str](), []
    for each in checks:
        place = queue, each.name, count[each.name]
        count[each.name] += 1
        state, since = _seen.get(place, (each.state, moment))
        _seen[place] = each.state, since if state == each.state else moment
        dated.append(replace(each, since=_seen[place][1]))
    return dated


_latest = Latest(examine, _overdue)


def _through_an_own_connection(name: str) -> tuple[list[Check], str]:
    database.connect_outside_the_pool()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{threshold('limit_sec'):.3f}s"])
        return _run_all(name)


def _run_all(queue: str) -> tuple[list[Check], str]:
    works = {title: partial(work, queue) for title, work in (OF_QUEUE | faults.checks()).items()} | OF_DATABASE
    checks = [replace(database.latency(database.round_trip_ms()), name="database")]
    checks += [replace(_isolated(title, work), name=title) for title, work in works.items()]
    try:
        with transaction.atomic():
            state = system_state.current()
            disabled = "" if system_state.is_enabled() else system_state.disabled_message(state)
    except DatabaseError:
        disabled = ""
    return checks, disabled


def _isolated(title: str, work: Callable[[], Check]) -> Check:
    """Run one check so that its failure affects no other."""
    try:
        with transaction.atomic():
            return work()
    except DatabaseError as error:
        reason = str(error).strip().split("\n", 1)[0]
        return bad(
            f"The check of {title} failed ({reason})",
            "apply migrations that are missing (manage.py migrate); otherwise read the database's log",
        )


def _disk(path: Path) -> Bounded:
    return _disks.setdefault(path, Bounded(str(path)))


def _check_disk(path: Path) -> tuple[int, Check] | None:
    device = host.device(path)
    return None if device is None else (device, host.disk(path))


def _settle_disks(futures: dict[Path, Future[tuple[int, Check] | None]], deadline: float) -> list[Check]:
    """Return one check for each existing file system, and one for each path that does not answer."""
    by_device: dict[int, Check] = {}
    silent: list[Check] = []
    for path, future in futures.items():
        try:
            found = wait(future, deadline)
        except (OSError, TimeoutError) as error:
            silent.append(host.disk_without_answer(path, error))
        else:
            if found is not None:
                by_device.setdefault(*found)
    return [replace(each, name="disk") for each in (*by_device.values(), *silent)]
