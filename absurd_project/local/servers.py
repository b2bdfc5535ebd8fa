"""The two servers as one: what the rest of the project calls."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from absurd_project import env
from absurd_project.local import postgres, unprivileged, valkey
from absurd_project.local.locations import EmbeddedServerError, Locations, prepare, state_directory

__all__ = [
    "EmbeddedServerError",
    "Status",
    "database_url",
    "ensure",
    "healthy",
    "purge",
    "redis_url",
    "status",
    "stop",
    "stop_started",
]

LOG_BYTES = 10_000_000

# How long a server that looks alive may refuse us: it may be dying of a signal, or recovering from a crash.
ANSWER_SEC = 20.0

# State directories whose servers this process started: the process that starts them stops them, others attach.
_started: set[tuple[Path, str]] = set()


@dataclass(frozen=True, kw_only=True)
class Status:
    """The pids of the running servers of one state directory, None where none runs."""

    postgres_pid: int | None
    valkey_pid: int | None

    @property
    def running(self) -> bool:
        """Whether any server runs."""
        return self.postgres_pid is not None or self.valkey_pid is not None


def database_url(var: Path) -> str:
    """Return the URL that the private PostgreSQL of a state directory has; starts nothing."""
    return postgres.url(_places(var))


def redis_url(var: Path) -> str:
    """Return the URL that the private Valkey of a state directory has; starts nothing."""
    return valkey.url(_places(var))


def ensure(var: Path | None = None) -> None:
    """Start the private servers or attach to them; each only when its external URL is unset.

    Raises EmbeddedServerError, with what to do, when one cannot be brought up.
    """
    places = _places(var)
    wants_postgres, wants_valkey = _wanted()
    if not (wants_postgres or wants_valkey):
        return
    prepare(places)
    deadline = time.monotonic() + ANSWER_SEC
    while True:
        _bring_up(places, wants_postgres, wants_valkey)
        complaint = postgres.ensure_database(places) if wants_postgres else ""
        if not complaint:
            return
        if time.monotonic() > deadline:
            raise EmbeddedServerError(f"the private PostgreSQL does not answer: {complaint}")
        time.sleep(0.05)


def healthy(var: Path | None = None) -> bool:
    """Return whether every server that should be private here is up; costs next to nothing."""
    return _up(_places(var), *_wanted())


def status(var: Path | None = None) -> Status:
    """Return which servers of a state directory run."""
    places = _places(var)
    return Status(postgres_pid=postgres.postmaster(places), valkey_pid=valkey.server(places))


def stop(var: Path | None = None) -> Status:
    """Stop the private servers of a state directory; return those that ran before."""
    places, before = _places(var), status(var)
    if before.running:
        with _locked(places):
            postgres.stop(places)
            valkey.stop(places)
    _started.difference_update({(places.var, "postgres"), (places.var, "valkey")})
    return before


def stop_started(var: Path | None = None) -> None:
    """Stop those servers that this very process started, and leave the ones it found running."""
    places = _places(var)
    mine = {name for directory, name in _started if directory == places.var}
    if not mine:
        return
    with _locked(places):
        if "postgres" in mine:
            postgres.stop(places)
        if "valkey" in mine:
            valkey.stop(places)
    _started.difference_update({(places.var, name) for name in mine})


def purge(var: Path | None = None) -> None:
    """Stop the servers and remove the whole state directory, with what had to live outside it."""
    places = _places(var)
    stop(var)
    if places.postgres_data.is_symlink():
        shutil.rmtree(unprivileged.outside_home(places))
    if places.sockets.parent != places.var and places.sockets.is_dir():
        shutil.rmtree(places.sockets)
    if places.var.exists():
        shutil.rmtree(places.var)


def _places(var: Path | None) -> Locations:
    return Locations(var=(var or state_directory()).absolute())


def _wanted() -> tuple[bool, bool]:
    """Whether PostgreSQL and Valkey are to be private ones: each is, unless its URL names an external one."""
    return not env.text("ABSURD_DATABASE_URL"), not env.text("ABSURD_REDIS_URL")


def _up(places: Locations, wants_postgres: bool, wants_valkey: bool) -> bool:
    postgres_up = not wants_postgres or postgres.ready(places) is not None
    return postgres_up and (not wants_valkey or valkey.answers(places))


def _bring_up(places: Locations, wants_postgres: bool, wants_valkey: bool) -> None:
    if _up(places, wants_postgres, wants_valkey):
        return
    with _locked(places):
        if wants_valkey and not valkey.answers(places):
            _rotate(places.valkey_log)
            valkey.start(places)
            _started.add((places.var, "valkey"))
        if wants_postgres and not postgres.ready(places):
            _rotate(places.postgres_log)
            postgres.start(places)
            _started.add((places.var, "postgres"))


@contextlib.contextmanager
def _locked(places: Locations) -> Iterator[None]:
    try:
        handle = places.lock.open("a")
    except OSError as error:
        raise EmbeddedServerError(f"cannot lock {places.lock}: {error}") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _rotate(log: Path) -> None:
    """Keep one older log; called only while the server that writes it is down."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
