"""A database of its own for the benchmark, with workers and a web process on it, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from psycopg import sql

from workers.gameday.processes import DoesNotStart, Processes, own_environment

__all__ = ["DoesNotStart", "Scratch", "memory_mb", "processes", "scratch_database", "second_database", "web", "workers"]

PREFIX = "absurd_benchmark_"
SETTLE_SEC = 1.0
"""A process that has just started still has things to load and connections to make."""


class NoScratchDatabase(Exception):
    """The scratch database cannot be made; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """The scratch database and a state directory to go with it."""

    name: str
    directory: Path
    is_kept: bool = False
    """Whether the database stays for later runs."""

    @property
    def url(self) -> str:
        """The URL of the scratch database."""
        return urlsplit(settings.ABSURD_DATABASE_URL)._replace(path=f"/{self.name}").geturl()

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Let this process work on the scratch database while the block lasts."""
        before = connection.settings_dict["NAME"]
        _point_to(self.name)
        try:
            yield
        finally:
            with _signals_ignored():
                _point_to(before)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process of ours that works on the scratch database."""
        return own_environment(
            self.directory,
            DJANGO_SETTINGS_MODULE="absurd_project.settings",
            SECRET_KEY=settings.SECRET_KEY,
            ABSURD_DIAGNOSTICS="true",
            ABSURD_LOG_LEVEL="WARNING",
            ABSURD_DATABASE_URL=self.url,
            ABSURD_REDIS_URL=settings.ABSURD_REDIS_URL,
            ABSURD_CHANNEL_PREFIX=channel_prefix(),
        )


def channel_prefix() -> str:
    """Return a prefix for live messages, so that no web process outside the benchmark is woken by it."""
    return f"{PREFIX}{os.getpid()}"


@contextlib.contextmanager
def scratch_database(kept: str = "") -> Iterator[Scratch]:
    """Make and migrate the scratch database, point this process to it, and drop it at the end, come what may.

    One that is to be kept has a name: it is made where there is none yet, and stays. Raises NoScratchDatabase.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    (directory / "data").mkdir()
    try:
        name = f"{PREFIX}{kept or os.getpid()}"
        with _database(Scratch(name=name, directory=directory, is_kept=bool(kept))) as scratch:
            yield scratch
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def second_database(first: Scratch) -> Iterator[Scratch]:
    """Make another beside the first, to which this process goes on pointing."""
    with _database(Scratch(name=f"{first.name}_second", directory=first.directory)) as second, first.here():
        yield second


@contextlib.contextmanager
def _database(scratch: Scratch) -> Iterator[Scratch]:
    home = _connection_parameters()
    if not (scratch.is_kept and _exists(home, scratch.name)):
        _create(home, scratch.name)
    try:
        with scratch.here():
            call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
            yield scratch
    finally:
        if not scratch.is_kept:
            with _signals_ignored():
                _drop(home, scratch.name)


def _connection_parameters() -> dict[str, Any]:
    parameters = dict(connection.get_connection_params())
    for ours in ("pool", "cursor_factory", "context", "prepare_threshold"):
        parameters.pop(ours, None)
    return parameters


def _exists(home: dict[str, Any], name: str) -> bool:
    with psycopg.connect(**home, autocommit=True) as database:
        return database.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def _create(home: dict[str, Any], name: str) -> None:
    identifier = sql.Identifier(name)
    try:
        with psycopg.connect(**home, autocommit=True) as database:
            database.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
    except psycopg.errors.InsufficientPrivilege:
        raise NoScratchDatabase(
            f"the benchmark works in a database of its own, and role {home.get('user')} may create none: "
            f"ALTER ROLE {home.get('user')} CREATEDB, or name another role in ABSURD_DATABASE_URL"
        ) from None
    except psycopg.errors.DuplicateDatabase:
        raise NoScratchDatabase(f"{name} is left from a run that was killed: DROP DATABASE {name}") from None
    except psycopg.OperationalError as error:
        raise NoScratchDatabase(f"the database does not answer: {error}") from None


def _drop(home: dict[str, Any], name: str) -> None:
    with psycopg.connect(**home, autocommit=True) as database:
        database.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _point_to(name: str) -> None:
    """Let this process's connection, and nothing else, name another database."""
    wrapper: Any = connection
    wrapper.close()
    wrapper.close_pool()
    wrapper.settings_dict["NAME"] = name


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """Let no second Ctrl-C interrupt the clearing away."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def processes(
    scratch: Scratch, queue_name: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[Processes]:
    """Yield what starts processes on the scratch database; all of them end with the block."""
    started = Processes(environment or scratch.environment, scratch.directory, queue_name, ready_line="")
    try:
        yield started
    finally:
        started.end()


@contextlib.contextmanager
def web(scratch: Scratch) -> Iterator[int]:
    """Yield the port of 127.0.0.1 on which a web process serves the scratch database. Raises DoesNotStart."""
    with processes(scratch) as started:
        port = started.start_web()
        time.sleep(SETTLE_SEC)
        yield port


@contextlib.contextmanager
def workers(
    scratch: Scratch, queue_name: str, *, count: int, concurrency: int, options: Sequence[str] = ()
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run workers of a queue; yield them when all have registered. Raises DoesNotStart."""
    with processes(scratch, queue_name) as started:
        ready = started.start_all_ready(count, "--concurrency", str(concurrency), *options)
        time.sleep(SETTLE_SEC)
        yield [worker.popen for worker in ready]


def memory_mb(started: Sequence[subprocess.Popen[bytes]]) -> float:
    """Return the memory of the largest process with all it has started, shared pages counted in proportion, in MB.

    Raises DoesNotStart when one of them has ended.
    """
    try:
        trees = [(root := psutil.Process(each.pid), *root.children(recursive=True)) for each in started]
        return max(sum(process.memory_full_info().pss for process in tree) for tree in trees) / 2**20
    except psutil.NoSuchProcess:
        raise DoesNotStart("a worker has ended while tasks were left") from None
